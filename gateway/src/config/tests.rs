//! A broken configuration is refused as a whole, with every mistake in its place.

use std::fs;
use std::path::PathBuf;

use super::RELEASE_ALL;
use super::*;
use crate::init::{InitOptions, init};

/// A new, valid gateway whose configuration can be bent.
struct Bent {
    dir: tempfile::TempDir,
    text: String,
}

impl Bent {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = init(dir.path(), &InitOptions::default()).unwrap();
        let text = fs::read_to_string(made.config).unwrap();
        Self { dir, text }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "{from}");
        self.text = self.text.replacen(from, to, 1);
        self
    }

    fn append(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    fn check(&self, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match Config::from_text(&self.path("gateway.toml"), &self.text, &environment) {
            Ok(config) => Ok(config),
            Err(ConfigError::Invalid(problems)) => Err(problems.lines().collect()),
            Err(other) => panic!("{other}"),
        }
    }

    /// The one mistake there is.
    fn mistake(&self) -> String {
        let lines = self.check(&[]).unwrap_err();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines[0].clone()
    }

    fn line_of(&self, needle: &str) -> usize {
        self.text.lines().position(|line| line.contains(needle)).unwrap() + 1
    }
}

#[test]
fn every_mistake_is_named_at_once_with_its_line_and_help() {
    let bent = Bent::new()
        .replace("#receive_max = 256", "receive_max = 20")
        .replace("#retain_hours = 24", "retain_hous = 72")
        .replace("certificate = \"pki/server.pem\"", "certificate = \"pki/absent.pem\"")
        .replace("#format = \"text\"", "format = \"jsn\"")
        .replace("[clock]", "[clok]")
        .append("\n[[forward.webhook]]\nurl = \"http://cad.force.example/x\"\nbatch_count_max = \"many\"\n")
        .append(RELEASE_ALL);
    let lines = bent.check(&[]).unwrap_err();
    assert_eq!(lines.len(), 7, "{lines:#?}");
    for (needle, expected) in [
        (
            "receive_max = 20",
            "`front_door.receive_max` must be an integer from 100 to 65535 (the default is 256",
        ),
        ("retain_hous", "unknown key `retain_hous` in [spool] (did you mean `retain_hours`?)"),
        ("pki/absent.pem", "`front_door.certificate`: cannot read"),
        ("format = \"jsn\"", "`log.format` must be one of: text, json (did you mean \"json\"?)"),
        ("[clok]", "unknown key `clok` at the top of the file (did you mean `clock`?)"),
        ("http://cad", "`forward.webhook[0].url` would send positions in clear text (use https://"),
        ("\"many\"", "`forward.webhook[0].batch_count_max` must be an integer"),
    ] {
        let place = format!("gateway.toml:{}: ", bent.line_of(needle));
        assert!(
            lines.iter().any(|line| line.contains(&place) && line.contains(expected)),
            "{place}{expected}\n{lines:#?}"
        );
    }
}

#[test]
fn an_nmea_output_is_released_one_force_by_name() {
    let nmea = "\n[[forward.nmea]]\nurl = \"tcp://127.0.0.1:5017\"\n";
    let lines = Bent::new().append(nmea).append(RELEASE_ALL).check(&[]).unwrap_err();
    let expected = "`forward.nmea[0].release.forces` has more than one force";
    assert!(lines.len() == 1 && lines[0].contains(expected), "{lines:#?}");
}

#[test]
fn an_nmea_output_over_tls_has_time_to_be_refused() {
    let release = RELEASE_ALL.replacen("[\"*\"]", "[\"demo\"]", 1);
    let check = |scheme: &str, attempt_ms_max: u32| {
        let nmea = format!(
            "\n[[forward.nmea]]\nurl = \"{scheme}://127.0.0.1:5017\"\nattempt_ms_max = {attempt_ms_max}\n{release}"
        );
        Bent::new().append(&nmea).check(&[])
    };
    let lines = check("tls", 999).unwrap_err();
    let expected = "`forward.nmea[0].attempt_ms_max` is below 1000: it would never connect";
    assert!(lines.len() == 1 && lines[0].contains(expected), "{lines:#?}");
    assert!(check("tls", 1_000).is_ok() && check("tcp", 100).is_ok());
}

#[test]
fn mistakes_after_a_syntax_error_are_still_found() {
    let bent = Bent::new().replace("#receive_max = 256", "receive_max = = 20").append("\n[lgo]\n");
    let lines = bent.check(&[]).unwrap_err();
    let at = bent.line_of("receive_max = = 20");
    assert!(lines.iter().any(|line| line.contains(&format!("gateway.toml:{at}: "))), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("did you mean `log`")), "{lines:#?}");
}

#[test]
fn rendering_for_people_shows_the_line_itself() {
    let bent = Bent::new().replace("#receive_max = 256", "receive_max = 20");
    let Err(ConfigError::Invalid(problems)) = Config::from_text(&bent.path("gateway.toml"), &bent.text, &[])
    else {
        panic!("20 is below the floor")
    };
    let rendered = problems.render(false);
    assert!(rendered.contains("receive_max = 20") && rendered.contains("help:"), "{rendered}");
    let place = format!("gateway.toml:{}:", bent.line_of("receive_max = 20"));
    assert!(rendered.contains(&place), "{rendered}");
}

#[test]
fn environment_overrides_the_file() {
    let bent =
        Bent::new().append("\n[[forward.file]]\nname = \"a\"\npath = \"a.ndjson\"\n").append(RELEASE_ALL);
    let config = bent
        .check(&[
            ("FIELDPOST__FRONT_DOOR__LISTEN", "127.0.0.1:1883"),
            ("FIELDPOST__FRONT_DOOR__RECEIVE_MAX", "500"),
            ("FIELDPOST__LOG__LEVEL", "debug"),
            ("FIELDPOST__FORWARD__FILE__0__PATH", "b.ndjson"),
            ("FIELDPOSTER", "not ours"),
        ])
        .unwrap();
    assert_eq!(config.front_door.listen.to_string(), "127.0.0.1:1883");
    assert_eq!(config.front_door.receive_max, 500);
    assert_eq!(config.log.level, "debug");
    assert!(matches!(&config.forwards[0].sink, Sink::File(file) if file.path == bent.path("b.ndjson")));
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let lines = Bent::new()
        .check(&[
            ("FIELDPOST__FRONT_DOOR__LISEN", "127.0.0.1:1883"),
            ("FIELDPOST__FRONT_DOOR__RECEIVE_MAX", "5"),
            ("FIELDPOST__FORCE__9__ID", "x"),
            ("FIELDPOST____X", "x"),
        ])
        .unwrap_err();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    for expected in [
        "environment variable FIELDPOST__FRONT_DOOR__LISEN: unknown key `lisen` in [front_door] (did you mean `listen`?)",
        "environment variable FIELDPOST__FRONT_DOOR__RECEIVE_MAX: `front_door.receive_max` must be",
        "environment variable FIELDPOST__FORCE__9__ID: `force` is a list of 1",
        "environment variable FIELDPOST____X: not a key",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}\n{lines:#?}");
    }
}

#[test]
fn page_without_tls_stays_on_loopback_and_metrics_always_do() {
    let page = Bent::new().replace("listen = \"127.0.0.1:8088\"", "listen = \"0.0.0.0:8088\"");
    assert!(page.mistake().contains("is not loopback, so the page needs TLS"));
    let with_tls = page
        .replace("#certificate = \"pki/server.pem\"", "certificate = \"pki/server.pem\"")
        .replace("#key = \"pki/server.key\"", "key = \"pki/server.key\"");
    assert!(with_tls.check(&[]).unwrap().control_room.identity.is_some());
    let metrics = Bent::new().replace("\"127.0.0.1:9464\"", "\"192.0.2.1:9464\"");
    assert!(metrics.mistake().contains("`metrics.listen` 192.0.2.1:9464 is not loopback"));
}

#[test]
fn key_of_another_certificate_and_lone_halves_are_refused() {
    let mismatch = Bent::new().replace("key = \"pki/server.key\"", "key = \"pki/ca.key\"");
    assert!(mismatch.mistake().contains("does not belong to the certificate"));
    let alone = Bent::new().replace("#certificate = \"pki/server.pem\"", "certificate = \"pki/server.pem\"");
    assert!(alone.mistake().contains("`control_room.certificate` stands alone"));
    let not_pem = Bent::new().replace("key = \"pki/server.key\"", "key = \"pki/index.jsonl\"");
    assert!(not_pem.mistake().contains("`front_door.key`: "));
    let not_ca = Bent::new().replace("\"pki/ca.pem\"", "\"pki/server.pem\"");
    assert!(not_ca.check(&[]).unwrap_err().iter().any(|line| line.contains("not a certificate authority's")));
}

#[test]
fn certificate_of_a_device_or_without_a_name_cannot_be_shown_by_the_gateway() {
    use fieldpost_protocol::{DeviceId, Mode};
    let bent = Bent::new();
    let mut authority = crate::pki::Authority::open(&bent.path("pki")).unwrap();
    let (force, device) = (ForceId::try_new("demo").unwrap(), DeviceId::try_new("d").unwrap());
    let issued = authority.issue_device(&force, &device, Mode::Test, 30).unwrap();
    crate::init::write_pair(&bent.path("pki"), "server", &issued).unwrap();
    assert!(bent.mistake().contains("`front_door.certificate` is not a server's certificate"));
}

#[test]
fn key_that_others_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let bent = Bent::new();
    fs::set_permissions(bent.path("pki/server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let config = bent.check(&[]).unwrap();
    assert!(config.warnings.to_string().contains("chmod 600"), "{}", config.warnings);
}

#[test]
fn revocation_list_of_another_authority_is_refused() {
    let other = Bent::new();
    let bent = Bent::new();
    fs::copy(other.path("pki/crl.pem"), bent.path("pki/crl.pem")).unwrap();
    assert!(bent.mistake().contains("is from another authority"));
}

#[test]
fn listeners_sinks_and_forces_must_differ() {
    let ports = Bent::new().replace("\"127.0.0.1:9464\"", "\"127.0.0.1:8883\"");
    assert!(ports.mistake().contains("want the same port 8883"));
    let sink = format!("\n[[forward.file]]\nname = \"a\"\npath = \"a.ndjson\"\n{RELEASE_ALL}\n");
    let sinks = Bent::new().append(&sink).append(&sink);
    assert!(sinks.mistake().contains("another sink is called \"a\""));
    let forces = Bent::new().append("\n[[force]]\nid = \"demo\"\n");
    assert!(forces.mistake().contains("force `demo` is listed twice"));
    let characters = Bent::new().append("\n[[force]]\nid = \"a b\"\n");
    assert!(characters.mistake().contains("1 to 64 characters of A-Z a-z 0-9 . _ -"));
}

#[test]
fn tak_clients_must_be_listed_each_with_a_certificate_of_its_own_and_read_back() {
    let listener =
        "\n[tak]\nlisten = \"127.0.0.1:8089\"\ncertificate = \"pki/server.pem\"\nkey = \"pki/server.key\"\n";
    let bare = Bent::new().append(listener);
    let lines = bare.check(&[]).unwrap_err();
    assert!(lines.iter().any(|line| line.contains("`tak.client_authority` is missing")), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.contains("`tak.client` is missing: nobody may connect")),
        "{lines:#?}"
    );
    let listener = format!("{listener}client_authority = \"pki/ca.pem\"\n");
    let client = |name: &str, more: &str| format!("[[tak.client]]\nname = \"{name}\"\n{more}\n");
    let twice = client("a", RELEASE_ALL) + &client("b", &format!("common_name = \"a\"\n{RELEASE_ALL}"));
    let twice = Bent::new().append(&listener).append(&twice);
    assert!(twice.mistake().contains("another client has the common name \"a\""));
    let silent = Bent::new().append(&listener).append(&client("a", ""));
    assert!(silent.mistake().contains("`tak.client[0].release` is missing: nothing is released"));
    let good = Bent::new().append(&listener).append(&client("a", RELEASE_ALL));
    let config = good.check(&[]).unwrap();
    let shown = show::effective(&config, false);
    let again = Config::from_text(&config.path, &shown, &[]).unwrap();
    assert_eq!(show::effective(&again, false), shown);
    assert!(again.tak.is_some() && again.forwards.iter().any(|forward| forward.name == "a"));
}

#[test]
fn an_envelope_key_that_is_replaced_has_an_end_and_is_another_one_and_reads_back() {
    let behind = |more: &str| {
        let bent = Bent::new();
        for name in ["old", "new"] {
            crate::pki::make_envelope_key(&bent.path(name)).unwrap();
        }
        fs::create_dir(bent.path("devices")).unwrap();
        let broker = "\n[[broker]]\nurl = \"mqtts://b:8883\"\nclient_id = \"g\"\ndevices = \"devices\"\n";
        bent.append(broker).append("envelope_key = \"new\"\n").append(more)
    };
    let former = "former_envelope_key = \"old\"\n";
    let until = |text: &str| format!("former_envelope_key_until = \"{text}\"\n");
    for half in [former, &until("2027-01-31T00:00:00Z")] {
        assert!(behind(half).mistake().contains("belong together"), "{half}");
    }
    let day = behind(former).append(&until("2027-01-31"));
    assert!(day.mistake().contains("`broker[0].former_envelope_key_until` is no instant"));
    let same = behind("former_envelope_key = \"new\"\n").append(&until("2027-01-31T00:00:00Z"));
    assert!(same.mistake().contains("is the same key as `envelope_key`"));
    let good = behind(former).append(&until("2027-01-31T02:00:00+02:00"));
    let config = good.check(&[]).unwrap();
    assert_eq!(config.brokers[0].former.as_ref().unwrap().until_ms, 1_801_353_600_000);
    let shown = show::effective(&config, false);
    let again = Config::from_text(&config.path, &shown, &[]).unwrap();
    assert_eq!(show::effective(&again, false), shown);
}

#[test]
fn reserve_must_fit_into_the_spool() {
    let bent = Bent::new().replace("#bytes_max = 4294967296", "bytes_max = 33554432");
    assert!(bent.mistake().contains("bytes_max must hold reserve_bytes and three segments more"));
}

#[test]
fn mistakes_of_the_roster_are_shown_with_those_of_the_configuration() {
    let bent =
        Bent::new().replace("#roster = ", "roster = ").replace("#receive_max = 256", "receive_max = 1");
    fs::write(bent.path("roster.toml"), "[[unit]]\nforce = \"demo\"\ncallsign = \"PC 1\"\n").unwrap();
    let lines = bent.check(&[]).unwrap_err();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].contains("roster.toml:1: `unit[0].device` is missing"), "{}", lines[1]);
}

#[test]
fn the_access_record_is_kept_for_ever_and_never_shorter_than_the_pictures_it_explains() {
    let kept = Bent::new().check(&[]).unwrap().audit;
    assert_eq!((kept.access_days, kept.disclosures_days), (0, 0));
    let short = Bent::new().replace("#access_days = 0", "access_days = 30");
    assert!(short.mistake().contains("nobody could say who was shown a picture"));
}

#[test]
fn missing_file_says_how_to_get_one() {
    let error = Config::load(Path::new("/nonexistent/gateway.toml")).unwrap_err();
    assert!(error.to_string().contains("fieldpost init"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever an editor, a template engine or a bad disk leaves in the file: mistakes, never a panic.
    #[test]
    fn any_damage_to_a_file_gives_mistakes_and_never_a_panic(
        at in 0_usize..5_000, length in 0_usize..400, with in "[ -~\\n\"\\[\\]=#é]{0,40}",
    ) {
        let text = template::render(&template::TemplateValues::default());
        let (from, to) = (at.min(text.len()), (at + length).min(text.len()));
        let damaged = format!("{}{with}{}", &text[..from], &text[to..]);
        let result = Config::from_text(Path::new("nowhere/gateway.toml"), &damaged, &[]);
        let Err(ConfigError::Invalid(problems)) = result else { panic!("the certificates are missing") };
        proptest::prop_assert!(problems.has_mistakes());
        proptest::prop_assert!(!problems.render(false).is_empty());
    }
}

const FILE: &str = "\n[[forward.file]]\nname = \"a\"\npath = \"a.ndjson\"\n";

#[test]
fn an_output_that_says_nothing_is_released_nothing_and_told_what_to_write() {
    let silent = Bent::new().append(FILE).mistake();
    assert!(silent.contains("`forward.file[0].release` is missing"), "{silent}");
    assert!(
        silent.contains("forces = [\"*\"]") && silent.contains("marking = \"official-sensitive\""),
        "{silent}"
    );
    let lines = Bent::new().append(FILE).append("release = {}\n").check(&[]).unwrap_err();
    for key in ["forces", "classes", "fields", "marking"] {
        let missing = format!("`forward.file[0].release.{key}` is missing");
        assert!(lines.iter().any(|line| line.contains(&missing)), "{key}: {lines:#?}");
    }
}

#[test]
fn a_release_that_would_withhold_everything_is_a_mistake() {
    let with = |forces: &str, classes: &str, fields: &str, marking: &str| {
        let release = format!(
            "release = {{ forces = [\"{forces}\"], classes = [\"{classes}\"], fields = [\"{fields}\"], marking = \"{marking}\" }}\n"
        );
        Bent::new().append(FILE).append(&release)
    };
    let cases = [
        (with("demmo", "*", "*", "official"), "force \"demmo\" is not served here (did you mean \"demo\"?"),
        (with("demo", "positon", "*", "official"), "\"positon\" is not known (did you mean \"position\"?"),
        (
            with("demo", "status", "position", "official"),
            "releases status without any field of it (add one of its fields: duty, device",
        ),
        (with("demo", "position", "*", "official"), "releases position, which is official-sensitive"),
        (with("demo", "*", "*", "secret"), "must be one of: official, official-sensitive"),
    ];
    for (bent, expected) in cases {
        let lines = bent.check(&[]).unwrap_err();
        assert!(lines.iter().any(|line| line.contains(expected)), "{expected}: {lines:#?}");
    }
    assert!(with("demo", "status", "device", "official").check(&[]).is_ok());
}

#[test]
fn a_map_is_a_file_or_a_server_and_a_server_is_asked_over_tls() {
    let mistake = |section: &str| Bent::new().replace("[map]", &format!("[map]\n{section}")).mistake();
    let both = mistake("pmtiles = \"a.pmtiles\"\ntiles = \"https://h/{z}/{x}/{y}\"");
    assert!(both.contains("two maps"), "{both}");
    let clear = mistake("tiles = \"http://h.example/{z}/{x}/{y}?key=secret\"");
    assert!(clear.contains("clear text") && !clear.contains("secret"), "{clear}");
    let alone = mistake("maxzoom = 16");
    assert!(alone.contains("there is none"), "{alone}");
    let upside_down = mistake("tiles = \"https://h/{z}/{x}/{y}\"\nminzoom = 9\nmaxzoom = 3");
    assert!(upside_down.contains("minzoom"), "{upside_down}");

    let bent = Bent::new().replace("[map]", "[map]\ntiles = \"https://h/{z}/{x}/{y}.png?key=secret\"");
    let config = bent.check(&[]).unwrap();
    let Ground::Server(server) = &config.map else { panic!("{:?}", config.map) };
    assert!(server.is_raster && server.zooms == (0, 14));
    assert!(!show::effective(&config, true).contains("secret"));
}
