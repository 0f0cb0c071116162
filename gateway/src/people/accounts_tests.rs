use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn by(who: &str) -> By {
    By { who: who.to_owned(), at_ms: 7 }
}

fn new(name: &str, roles: &[Role], forces: &str) -> NewAccount {
    let grant = Grant { roles: roles.iter().copied().collect(), forces: forces.parse().unwrap() };
    NewAccount { name: Operator::try_new(name).unwrap(), full_name: "Anna <b>Smith</b>".to_owned(), grant }
}

#[test]
fn the_first_start_makes_one_administrator_with_a_password_of_their_own() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let accounts = Accounts::new(dir.path());
    let password = accounts.found(&by("start")).unwrap().unwrap();
    let account = accounts.get(FIRST_NAME).unwrap().unwrap();
    assert!(account.must_change && account.is_chief() && account.password.unwrap().is_of(&password));
    assert_eq!(account.grant.roles.iter().collect::<Vec<_>>(), [Role::Administrator]);
    assert!(accounts.found(&by("start")).unwrap().is_none(), "shown once");
    let elsewhere = Accounts::new(other.path()).found(&by("start")).unwrap().unwrap();
    assert_ne!(password, elsewhere, "no default password");
}

#[test]
fn a_change_is_private_whole_and_seen_by_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let (gateway, command) = (Accounts::new(dir.path()), Accounts::new(dir.path()));
    assert!(gateway.all().unwrap().is_empty());
    command.add(new("anna", &[Role::Operator], "met"), &by("cli:0")).unwrap();
    let anna = gateway.get("anna").unwrap().unwrap();
    assert_eq!((anna.changed_by.as_str(), anna.full_name.as_str()), ("cli:0", "Anna <b>Smith</b>"));
    let path = dir.path().join(PEOPLE_FILE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&path).unwrap().contains("Password"));
    command.set_disabled("anna", &Forces::All, true, &by("cli:0")).unwrap();
    let proven = Proven { operator: anna.name, credential: 2 };
    assert_eq!(gateway.get("anna").unwrap().unwrap().credential, proven.credential);
    assert_eq!(gateway.standing(&proven).unwrap(), None);
}

#[test]
fn an_account_is_reached_by_the_forces_it_has_when_it_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(dir.path());
    accounts.add(new("anna", &[Role::Operator], "met"), &by("a")).unwrap();
    let met: Forces = "met".parse().unwrap();
    accounts.set_disabled("anna", &met, true, &by("met-admin")).unwrap();
    let anna = accounts.get("anna").unwrap();
    let grant = new("anna", &[Role::Operator], "met,kent").grant;
    accounts.set_grant("anna", &Forces::All, grant.clone(), &by("chief")).unwrap();
    let after = accounts.get("anna").unwrap();
    assert_ne!(after, anna);
    // Each as if its asker had seen her a moment before, when she was of the met alone.
    let late = [
        accounts.set_disabled("anna", &met, false, &by("met-admin")),
        accounts.set_grant("anna", &met, grant, &by("met-admin")),
        accounts.reset("anna", &met, &by("met-admin")).map(drop),
    ];
    for refused in late {
        assert!(matches!(refused, Err(AccountsError::Unknown(_))), "{refused:?}");
    }
    assert_eq!(accounts.get("anna").unwrap(), after, "nothing was changed");
}

#[test]
fn what_is_judged_is_what_the_lock_holds_and_not_what_was_read_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(dir.path());
    accounts.add(new("anna", &[Role::Operator], "city"), &by("a")).unwrap();
    let city: Forces = "city".parse().unwrap();
    assert!(accounts.get("anna").unwrap().is_some());
    // Another process moves her to another force; this one's memory of the file stays as it was.
    let path = dir.path().join(PEOPLE_FILE);
    let read_at = fs::metadata(&path).unwrap().modified().unwrap();
    let moved = fs::read_to_string(&path).unwrap().replace("city", "kent");
    fs::write(&path, moved).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(read_at).unwrap();
    assert!(city.cover(&accounts.get("anna").unwrap().unwrap().grant.forces), "as remembered");
    for refused in [
        accounts.set_disabled("anna", &city, true, &by("city-admin")),
        accounts.reset("anna", &city, &by("city-admin")).map(drop),
    ] {
        assert!(matches!(refused, Err(AccountsError::Unknown(_))), "{refused:?}");
    }
}

#[test]
fn a_new_password_counts_and_gives_nothing_until_its_owner_chose_one() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(dir.path());
    accounts.add(new("anna", &[Role::Operator], "met"), &by("a")).unwrap();
    let name = Operator::try_new("anna").unwrap();
    let first = Proven { operator: name, credential: 1 };
    let before = accounts.standing(&first).unwrap().unwrap();
    assert!(before.must_change && before.grant == Grant::none());
    let own = Password::chosen("otter violin cloud".to_owned(), "anna").unwrap().hash().unwrap();
    let chosen = accounts.set_password(&first, own, &by("anna")).unwrap();
    let after = accounts.standing(&chosen).unwrap().unwrap();
    assert!(
        !after.must_change && after.grant.roles.has(Role::Operator) && after.credential > before.credential
    );
}

#[test]
fn a_password_that_is_none_any_more_changes_nothing_and_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(dir.path());
    let anna = new("anna", &[Role::Operator], "met");
    let thiefs = Proven { operator: anna.name.clone(), credential: 1 };
    accounts.add(anna, &by("a")).unwrap();
    accounts.reset("anna", &Forces::All, &by("a")).unwrap();
    let reset = accounts.get("anna").unwrap().unwrap();
    let own = Password::chosen("otter violin cloud".to_owned(), "anna").unwrap().hash().unwrap();
    let refused = accounts.set_password(&thiefs, own, &by("anna"));
    assert!(matches!(refused, Err(AccountsError::Overtaken(_))), "{refused:?}");
    assert_eq!(accounts.get("anna").unwrap().unwrap(), reset);
    assert_eq!(accounts.standing(&thiefs).unwrap(), None);
}

#[test]
fn there_is_always_one_who_can_make_accounts() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(dir.path());
    accounts.found(&by("start")).unwrap();
    accounts.add(new("ben", &[Role::Administrator], "met"), &by("a")).unwrap();
    let refused = accounts.set_disabled(FIRST_NAME, &Forces::All, true, &by("ben"));
    assert!(matches!(refused, Err(AccountsError::LastAdministrator(_))));
    assert!(accounts.get(FIRST_NAME).unwrap().unwrap().is_chief(), "and nothing was changed");
    accounts.add(new("eve", &[Role::Administrator], "*"), &by("a")).unwrap();
    accounts.set_disabled(FIRST_NAME, &Forces::All, true, &by("eve")).unwrap();
}

#[test]
fn what_is_no_account_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(dir.path());
    accounts.add(new("anna", &[Role::Operator], "met"), &by("a")).unwrap();
    let add = |account| accounts.add(account, &by("a")).unwrap_err().to_string();
    assert!(add(new("anna", &[Role::Operator], "met")).contains("never used twice"));
    assert!(add(new("ben", &[], "met")).contains("at least one role"));
    assert!(add(new("ben", &[Role::Operator], "")).contains("at least one force"));
    let long = NewAccount { full_name: "x\u{7}".to_owned(), ..new("ben", &[Role::Operator], "*") };
    assert!(add(long).contains("control characters"));
    assert!(matches!(accounts.reset("ben", &Forces::All, &by("a")), Err(AccountsError::Unknown(_))));
}

#[test]
fn a_damaged_file_lets_nobody_in_and_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = Accounts::new(dir.path());
    accounts.add(new("anna", &[Role::Operator], "met"), &by("a")).unwrap();
    let path = dir.path().join(PEOPLE_FILE);
    let good = fs::read_to_string(&path).unwrap();
    let half = &good[..good.len() / 2];
    for bad in
        [half, "", "{}", &good.replace("\"version\": 1", "\"version\": 9"), &good.replace("argon2id", "md5")]
    {
        fs::write(&path, bad).unwrap();
        assert!(matches!(accounts.all(), Err(AccountsError::Damaged { .. })), "{bad}");
        assert!(
            accounts.found(&by("start")).is_err() && accounts.reset("anna", &Forces::All, &by("a")).is_err()
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
    fs::write(&path, good).unwrap();
    assert!(accounts.get("anna").unwrap().is_some());
}
