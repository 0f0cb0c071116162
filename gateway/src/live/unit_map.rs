//! What is known of each unit, by its identity: in order, and quick when the same unit is asked for again.
//!
//! **One record asks for its unit some ten times while it is folded**, and a device's records come in bursts. So the unit that
//! was asked for last is compared first, and the tree is walked only for another. Values lie side by side, not in the tree.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::unit::UnitId;

/// A map by [`UnitId`].
#[derive(Debug, Clone)]
pub(crate) struct UnitMap<T> {
    places: BTreeMap<UnitId, usize>,
    slots: Vec<Option<T>>,
    /// Empty slots.
    free: Vec<usize>,
    /// The unit that was asked for last, and its slot.
    last: Option<(UnitId, usize)>,
}

impl<T> Default for UnitMap<T> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), slots: Vec::new(), free: Vec::new(), last: None }
    }
}

/// The same units with the same values, wherever they lie.
impl<T: PartialEq> PartialEq for UnitMap<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for UnitMap<T> {}

impl<T> UnitMap<T> {
    /// How many units there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// One unit.
    pub(crate) fn get(&self, id: &UnitId) -> Option<&T> {
        let place = match &self.last {
            Some((last, place)) if last == id => *place,
            _ => *self.places.get(id)?,
        };
        self.slots[place].as_ref()
    }

    /// One unit, to change it.
    pub(crate) fn get_mut(&mut self, id: &UnitId) -> Option<&mut T> {
        let place = self.place(id)?;
        self.slots[place].as_mut()
    }

    /// One unit, made by `new` if there is none.
    pub(crate) fn get_or_insert_with(&mut self, id: &UnitId, new: impl FnOnce() -> T) -> &mut T {
        let place = match self.place(id) {
            Some(place) => place,
            None => self.add(id, new()),
        };
        self.slots[place].as_mut().expect("a place in the tree is never empty")
    }

    /// Takes a unit out.
    pub(crate) fn remove(&mut self, id: &UnitId) -> Option<T> {
        let place = self.places.remove(id)?;
        self.last = None;
        self.free.push(place);
        self.slots[place].take()
    }

    /// Every unit, by identity.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&UnitId, &T)> {
        self.after(None)
    }

    /// Every unit after `after`, by identity.
    pub(crate) fn after(&self, after: Option<&UnitId>) -> impl Iterator<Item = (&UnitId, &T)> {
        let places = self.places.range((after.map_or(Unbounded, Excluded), Unbounded));
        places.filter_map(|(id, place)| Some((id, self.slots[*place].as_ref()?)))
    }

    /// Changes every unit, by identity.
    pub(crate) fn for_each_mut(&mut self, mut change: impl FnMut(&UnitId, &mut T)) {
        for (id, place) in &self.places {
            if let Some(value) = &mut self.slots[*place] {
                change(id, value);
            }
        }
    }

    fn place(&mut self, id: &UnitId) -> Option<usize> {
        if let Some((last, place)) = &self.last
            && last == id
        {
            return Some(*place);
        }
        let place = *self.places.get(id)?;
        self.last = Some((id.clone(), place));
        Some(place)
    }

    fn add(&mut self, id: &UnitId, value: T) -> usize {
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = Some(value);
                place
            }
            None => {
                self.slots.push(Some(value));
                self.slots.len() - 1
            }
        };
        self.places.insert(id.clone(), place);
        self.last = Some((id.clone(), place));
        place
    }
}

impl<T> FromIterator<(UnitId, T)> for UnitMap<T> {
    fn from_iter<I: IntoIterator<Item = (UnitId, T)>>(units: I) -> Self {
        let mut map = Self::default();
        for (id, value) in units {
            map.remove(&id);
            map.add(&id, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> UnitId {
        format!("f/{number}").parse().unwrap()
    }

    proptest! {
        /// Whatever is asked in whatever order, the answers are those of a plain tree.
        #[test]
        fn it_answers_as_a_tree_does(steps in prop::collection::vec((0u8..4, 0u8..6), 0..60)) {
            let (mut map, mut tree) = (UnitMap::default(), BTreeMap::new());
            for (n, (step, unit)) in steps.into_iter().enumerate() {
                let unit = id(unit);
                match step {
                    0 => prop_assert_eq!(map.remove(&unit), tree.remove(&unit)),
                    1 => prop_assert_eq!(
                        map.get_or_insert_with(&unit, || n),
                        tree.entry(unit.clone()).or_insert(n)
                    ),
                    2 => prop_assert_eq!(map.get_mut(&unit), tree.get_mut(&unit)),
                    _ => prop_assert_eq!(map.get(&unit), tree.get(&unit)),
                }
                prop_assert_eq!(map.len(), tree.len());
                prop_assert!(map.iter().eq(tree.iter()));
                prop_assert!(map.after(Some(&unit)).eq(tree.range((Excluded(unit.clone()), Unbounded))));
            }
            map.for_each_mut(|_, value| *value += 1);
            tree.values_mut().for_each(|value| *value += 1);
            prop_assert_eq!(&map, &tree.into_iter().collect());
        }
    }
}
