//! The address of a tile: a URL with `{z}`, `{x}` and `{y}` in it. Pure.
//!
//! **Three numbers are all that a request can put into it**, after the host: nobody but the configuration chooses whom the
//! gateway asks.

use std::fmt;

use hyper::Uri;

/// Zoom, column, row.
pub type Place = (u8, u32, u32);

const HOLES: [&str; 3] = ["{z}", "{x}", "{y}"];

/// An address with three holes. Its query may hold a key of the server: it is not shown, [`Template::host`] is.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    host: String,
}

/// Why a text is no address of tiles.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is no such URL.
    #[error("it is not an http or https URL")]
    Url,
    /// A hole is missing, comes twice, or is before the path.
    #[error("it needs {{z}}, {{x}} and {{y}} once each, after the host")]
    Holes,
    /// A login in a URL ends in logs.
    #[error("it holds a login")]
    Login,
    /// Somebody on the way could see where operators look, and draw them another street.
    #[error("it would ask in clear text")]
    ClearText,
}

impl Template {
    /// Checks an address.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn try_new(text: &str) -> Result<Self, TemplateError> {
        let after_scheme = text.split_once("://").ok_or(TemplateError::Url)?.1;
        let host_end = after_scheme.find(['/', '?']).unwrap_or(after_scheme.len());
        let (authority, rest) = after_scheme.split_at(host_end);
        if authority.contains('@') {
            return Err(TemplateError::Login);
        }
        let is_once = |hole| !authority.contains(hole) && rest.matches(hole).count() == 1;
        if !HOLES.into_iter().all(is_once) {
            return Err(TemplateError::Holes);
        }
        let uri: Uri = filled(text, (0, 0, 0)).parse().map_err(|_| TemplateError::Url)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(TemplateError::Url)?.to_owned();
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if crate::https::is_loopback(&uri) => {}
            Some("http") => return Err(TemplateError::ClearText),
            _ => return Err(TemplateError::Url),
        }
        Ok(Self { text: text.to_owned(), host })
    }

    /// The address of one tile.
    #[must_use]
    pub fn of(&self, place: Place) -> Uri {
        filled(&self.text, place).parse().expect("it parsed with other digits")
    }

    /// Whom it asks.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it ends as pictures do.
    #[must_use]
    pub fn is_of_pictures(&self) -> bool {
        let path = self.text.split('?').next().unwrap_or_default().to_ascii_lowercase();
        [".png", ".jpg", ".jpeg", ".webp"].into_iter().any(|ending| path.ends_with(ending))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", self.host)
    }
}

fn filled(text: &str, (zoom, column, row): Place) -> String {
    let numbers = [zoom.to_string(), column.to_string(), row.to_string()];
    HOLES.iter().zip(numbers).fold(text.to_owned(), |text, (hole, number)| text.replace(hole, &number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_are_put_into_path_or_query() {
        let template = Template::try_new("https://tiles.example/a/{z}/{x}/{y}.pbf?key=secret").unwrap();
        assert_eq!(template.of((7, 63, 42)), "https://tiles.example/a/7/63/42.pbf?key=secret");
        assert_eq!(template.host(), "tiles.example");
        assert!(!format!("{template:?}").contains("secret"));
        let wmts = "https://maps.example/wmts?TILEMATRIX={z}&TILEROW={y}&TILECOL={x}";
        assert_eq!(
            Template::try_new(wmts).unwrap().of((3, 1, 2)),
            "https://maps.example/wmts?TILEMATRIX=3&TILEROW=2&TILECOL=1"
        );
    }

    #[test]
    fn an_address_that_is_none_or_that_others_can_read_is_refused() {
        for (text, why) in [
            ("", TemplateError::Url),
            ("tiles.example/{z}/{x}/{y}", TemplateError::Url),
            ("ftp://tiles.example/{z}/{x}/{y}", TemplateError::Url),
            ("https:///{z}/{x}/{y}", TemplateError::Url),
            ("https://tiles.example/{z} {x}/{y}", TemplateError::Url),
            ("https://tiles.example/{z}/{x}", TemplateError::Holes),
            ("https://tiles.example/{z}/{x}/{y}/{y}", TemplateError::Holes),
            ("https://{z}.example/{z}/{x}/{y}", TemplateError::Holes),
            ("https://me:pw@tiles.example/{z}/{x}/{y}", TemplateError::Login),
            ("http://tiles.example/{z}/{x}/{y}", TemplateError::ClearText),
        ] {
            assert_eq!(Template::try_new(text), Err(why), "{text}");
        }
        Template::try_new("http://127.0.0.1:8080/{z}/{x}/{y}.png").unwrap();
    }

    #[test]
    fn pictures_are_known_by_their_ending() {
        let is = |text| Template::try_new(text).unwrap().is_of_pictures();
        assert!(is("https://h/{z}/{x}/{y}.PNG?key=1"));
        assert!(!is("https://h/{z}/{x}/{y}.pbf?as=.png"));
    }
}
