//! What users see of the loader: every error by its text, the order of the sources, the origins, the masks.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::ByteSize;
use crate::placement::PlacerChoice;

/// A file `c.toml` in a directory of its own.
struct Bench {
    directory: tempfile::TempDir,
    sources: Sources,
}

impl Bench {
    fn new(text: &str) -> Self {
        Self::with_bytes(text.as_bytes())
    }

    fn with_bytes(text: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        Self { directory, sources: Sources { file: Some(file), ..Sources::default() } }
    }

    fn role(mut self, role: Role) -> Self {
        self.sources.role = role;
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn set(mut self, assignment: &str) -> Self {
        self.sources.flags.push(Flag::assignment(assignment));
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        Config::load(&self.sources)
    }

    fn ok(&self) -> Loaded {
        self.load().unwrap()
    }

    /// The errors as printed, without the directory.
    fn errors(&self) -> Vec<String> {
        self.shown(self.load().unwrap_err().iter())
    }

    fn warnings(&self) -> Vec<String> {
        self.shown(self.ok().warnings.iter())
    }

    fn shown<'a>(&self, errors: impl Iterator<Item = &'a ConfigError>) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        errors.map(|error| error.to_string().replace(&directory, "")).collect()
    }
}

fn example(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).join(name)
}

#[test]
fn placement_of_a_function_that_is_not_there_is_told_with_its_place() {
    let function = "[[function]]\nname = \"greet\"\ncommand = [\"true\"]\n";
    let bench = Bench::new(&format!("{function}[placement.function.gret]\nplacer = \"naive\"\n"));
    let errors = bench.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let told = ["c.toml:4", "placement.function.gret", "expected the name of a [[function]]: one of greet", "greet"];
    assert!(told.iter().all(|text| errors[0].contains(text)), "{errors:?}");
}

#[test]
fn the_two_example_files_work_as_they_stand() {
    let plain = Sources { role: Role::Lb, file: Some(example("plain.toml")), ..Sources::default() };
    let loaded = Config::load(&plain).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.pool.runners, ["127.0.0.1:9001", "127.0.0.1:9002"]);
    assert_eq!(loaded.config.placement.placer, PlacerChoice::Naive);

    let demo = Sources { role: Role::Up, file: Some(example("demo.toml")), ..Sources::default() };
    let loaded = Config::load(&demo).unwrap();
    assert_eq!(loaded.config.fleet.runners, 3);
    assert_eq!(loaded.config.placement.placer_timeout, Duration::from_secs(360));
    let greet = loaded.config.functions.first().unwrap();
    assert_eq!(greet.memory, ByteSize::mib(128));
    assert_eq!(greet.directory.as_deref(), Some(example("functions/greet").as_path()));
}

#[test]
fn fifteen_lines_are_enough_for_one_balancer_two_runners_and_one_function() {
    let text =
        "[pool]\nrunners = [\"127.0.0.1:9001\", \"127.0.0.1:9002\"]\n[[function]]\nname = \"hello\"\ncommand = [\"cat\"]\n";
    let bench = Bench::new(text).role(Role::Lb);
    assert_eq!(bench.ok().warnings, []);
    assert!(text.lines().count() <= 15);
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let bench = Bench::new("[placement]\nplacer_timeout = \"1s\"\nretry_all_delay = \"1ms\"\nattempt_timeout = \"1s\"\n")
        .variable("RUNPOOL_PLACEMENT_RETRY_ALL_DELAY", "2ms")
        .variable("RUNPOOL_PLACEMENT_ATTEMPT_TIMEOUT", "2s")
        .set("placement.attempt_timeout=3s");
    let loaded = bench.ok();
    let placement = &loaded.config.placement;
    assert_eq!(placement.detached_placer_timeout, Duration::from_secs(30));
    assert_eq!(placement.placer_timeout, Duration::from_secs(1));
    assert_eq!(placement.retry_all_delay, Duration::from_millis(2));
    assert_eq!(placement.attempt_timeout, Duration::from_secs(3));

    let origin = |key: &str| {
        let setting = loaded.settings().into_iter().find(|setting| setting.key == key).unwrap();
        setting.origin.to_string().replace(&format!("{}/", bench.directory.path().display()), "")
    };
    assert_eq!(origin("placement.detached_placer_timeout"), "default");
    assert_eq!(origin("placement.placer_timeout"), "c.toml:2");
    assert_eq!(origin("placement.retry_all_delay"), "environment variable RUNPOOL_PLACEMENT_RETRY_ALL_DELAY");
    assert_eq!(origin("placement.attempt_timeout"), "flag --set");
}

#[test]
fn variables_and_flags_reach_nested_keys_and_lists() {
    let bench = Bench::new("")
        .variable("RUNPOOL_FRONT_LIMITS_MAX_HEADERS", "7")
        .variable("RUNPOOL_POOL_RUNNERS", "a:1, b:2,")
        .variable("RUNPOOL_CONFIG", "is read elsewhere")
        .variable("HOME", "/root")
        .set("telemetry.buckets = 0.5,1")
        .set("pool.refusal_statuses=");
    let config = bench.ok().config;
    assert_eq!(config.front.limits.max_headers, 7);
    assert_eq!(config.pool.runners, ["a:1", "b:2"]);
    assert_eq!(config.telemetry.buckets, [0.5, 1.0]);
    assert!(config.pool.refusal_statuses.is_empty());
}

#[test]
fn an_unknown_key_is_told_with_the_one_that_was_meant() {
    assert_eq!(
        Bench::new("[placement]\nplaser = \"naive\"\n").errors(),
        ["c.toml:2: placement.plaser = \"naive\": unknown key; did you mean `placer`?"]
    );
    assert_eq!(Bench::new("[fornt]\nx = 1\n").errors(), ["c.toml:1: fornt = {…}: unknown key; did you mean `front`?"]);
    assert_eq!(
        Bench::new("[[route]]\npath = \"/\"\nfunction = \"f\"\nbanana = 1\n[[function]]\nname = \"f\"\ncommand = [\"x\"]\n")
            .errors(),
        ["c.toml:4: route[/].banana = 1: unknown key: expected one of host, path, function, forward, upgrade"]
    );
}

#[test]
fn a_connection_that_many_calls_share_is_not_switched() {
    let route = "[[route]]\npath = \"/\"\nfunction = \"f\"\nupgrade = [\"websocket\"]\n[[function]]\nname = \"f\"\n";
    assert_eq!(
        Bench::new(&format!("[pool]\nprotocol = \"plain\"\nhttp = \"2\"\nrunners = [\"a:1\"]\n{route}")).errors(),
        [
            "c.toml:8: route[/].upgrade = [\"websocket\"]: expected none beside pool.http = \"2\": a connection that many calls share cannot be \
             switched"
        ]
    );
    Bench::new(&format!("[pool]\nprotocol = \"plain\"\nrunners = [\"a:1\"]\n{route}")).ok();
}

#[test]
fn an_unknown_variable_and_an_unknown_flag_are_told_with_the_one_that_was_meant() {
    assert_eq!(
        Bench::new("").variable("RUNPOOL_FRONT_LISTN", "x").errors(),
        [
            "environment variable RUNPOOL_FRONT_LISTN: no key of the configuration has this name: expected RUNPOOL_SECTION_KEY, such as \
          RUNPOOL_FRONT_LISTEN; did you mean `RUNPOOL_FRONT_LISTEN`?"
        ]
    );
    assert_eq!(
        Bench::new("").set("front.lisen=1").set("workers").errors(),
        ["flag --set: front.lisen = \"1\": unknown key; did you mean `front.listen`?", "flag --set: workers: expected KEY=VALUE"]
    );
}

#[test]
fn a_wrong_value_is_told_with_its_place_and_what_was_expected() {
    for (text, expected) in [
        ("workers = -1", "c.toml:1: workers = -1: expected a whole number from 0 to 65535"),
        ("workers = 99999999999999999999", "c.toml:1: workers = 100000000000000000000: expected a whole number from 0 to 65535"),
        ("workers = 2020-01-01", "c.toml:1: workers = 2020-01-01: expected a whole number from 0 to 65535"),
        ("front = 1", "c.toml:1: front = 1: expected a table"),
        (
            "[front]\nlisten = \"localhost\"",
            "c.toml:2: front.listen = \"localhost\": expected an IP address with a port, such as \"127.0.0.1:8080\"",
        ),
        ("[front]\nexpose = \"yes\"", "c.toml:2: front.expose = \"yes\": expected \"without-authentication\""),
        (
            "[placement]\nplacer = \"naiv\"",
            "c.toml:2: placement.placer = \"naiv\": expected \"naive\", \"ch\", \"ring-bounded\", \"p2c\", \"p2c-ewma\", \"least-loaded\", \"idle-pull\", \"prequal\" or \"delay-pull\"; did you mean `naive`?",
        ),
        ("[placement]\nplacer_timeout = 5", "c.toml:2: placement.placer_timeout = 5: expected a text in quotes, such as \"6m\""),
        (
            "[placement]\nplacer_timeout = \"5\"",
            "c.toml:2: placement.placer_timeout = \"5\": expected whole numbers with a unit, such as \"10ms\", \"30s\", \"5m\" or \"1h30m\"",
        ),
        (
            "[front]\nmax_body = \"1 parsec\"",
            "c.toml:2: front.max_body = \"1 parsec\": expected a whole number with an optional unit, such as \"64KiB\", \"128MiB\" or \"8GiB\"",
        ),
        ("[telemetry]\nnative_histograms = \"on\"", "c.toml:2: telemetry.native_histograms = \"on\": expected true or false"),
        ("[pool]\nrunners = \"a:1\"", "c.toml:2: pool.runners = \"a:1\": expected a list in [ ]"),
        (
            "[pool]\nrunners = [\n \"a:1\",\n 2,\n]",
            "c.toml:4: pool.runners[1] = 2: expected an address in quotes, such as \"10.0.0.7:9001\", or a table with the key `address`",
        ),
        ("[[function]]\ncommand = [\"x\"]", "c.toml:1: function[0]: expected the key `name` in this table"),
        (
            "[[function]]\nname = \"a b\"",
            "c.toml:2: function[a b].name = \"a b\": expected 1 to 128 characters of A-Z, a-z, 0-9, `.`, `_` and `-`, not starting with `.`",
        ),
    ] {
        assert_eq!(Bench::new(text).errors(), [expected]);
    }
    assert_eq!(
        Bench::new("").variable("RUNPOOL_WORKERS", "many").errors(),
        ["environment variable RUNPOOL_WORKERS: workers = \"many\": expected a whole number from 0 to 65535"]
    );
    assert_eq!(
        Bench::new("").set("workers=many").errors(),
        ["flag --set: workers = \"many\": expected a whole number from 0 to 65535"]
    );
}

#[test]
fn a_value_that_fits_its_type_and_cannot_be_used_is_told_too() {
    for (text, expected) in [
        (
            "[front]\nlisten = \"0.0.0.0:80\"",
            "c.toml:2: front.listen = \"0.0.0.0:80\": expected a loopback address, or access = \"token\" or \"identity\" for every function, or \
             tls.client_certificates = \"required\", or expose = \"without-authentication\" beside it, since nothing there asks who is calling",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:81\"",
            "c.toml:2: admin.listen = \"0.0.0.0:81\": expected a loopback address, or tokens, or tls.client_certificates = \"required\", or \
             expose = \"without-authentication\" beside it, since nothing there asks who is calling",
        ),
        (
            "[runner]\nlisten = \"0.0.0.0:81\"",
            "c.toml:2: runner.listen = \"0.0.0.0:81\": expected a loopback address, or tls.client_certificates = \"required\", or \
             expose = \"without-authentication\" beside it, since nothing there asks who is calling",
        ),
        (
            "[pool.registration]\nenabled = true",
            "c.toml:2: pool.registration.enabled = true: expected tokens or token_file beside it, or admin.tls.client_certificates = \
             \"required\", or insecure = true while the admin listener is on loopback",
        ),
        (
            "[[function]]\nname = \"f\"\ncommand = [\"x\"]\naccess = \"token\"",
            "c.toml:4: function[f].access = \"token\": expected a token in front.tokens that callers could show; there is none",
        ),
        (
            "[[function]]\nname = \"f\"\ncommand = [\"x\"]\naccess = \"identity\"",
            "c.toml:4: function[f].access = \"identity\": expected front.tls.client_certificates = \"required\" or \"optional\", since nobody is \
             asked for a certificate",
        ),
        (
            "[[front.tokens]]\nname = \"shop\"\nhash = \"the-token-itself\"",
            "c.toml:3: front.tokens[shop].hash = ***: expected the hash of a token as `runpool token make` prints it: `sha256:` and 64 \
             hexadecimal digits",
        ),
        ("[front]\nmax_in_flight = 0", "c.toml:2: front.max_in_flight = 0: expected at least 1"),
        ("[front]\nlimits.max_streams = 0", "c.toml:2: front.limits.max_streams = 0: expected at least 1"),
        ("[front]\nmax_body = \"1KiB\"", "c.toml:2: front.held_body = \"64KiB\": expected at most max_body (1KiB)"),
        ("[placement]\nplacer_timeout = \"0\"", "c.toml:2: placement.placer_timeout = \"0\": expected more than 0s"),
        (
            "[pool]\nrunners = [\"http://a:1\"]",
            "c.toml:2: pool.runners[0] = \"http://a:1\": expected host:port, such as \"10.0.0.7:9001\", \"runner-1:9001\" or \"[::1]:9001\"",
        ),
        ("[pool]\nrunners = [\"a:1\", \"a:1\"]", "c.toml:2: pool.runners[1] = \"a:1\": expected each runner once"),
        ("[runner]\nslots = 0", "c.toml:2: runner.slots = 0: expected at least 1"),
        ("[fleet]\nrunners = 0", "c.toml:2: fleet.runners = 0: expected from 1 to 256"),
        (
            "[telemetry]\nbuckets = [1, 0.5]",
            "c.toml:2: telemetry.buckets = [1, 0.5]: expected strictly increasing numbers of seconds",
        ),
        (
            "[telemetry]\notlp_endpoint = \"http://me:hunter2@host\"",
            "c.toml:2: telemetry.otlp_endpoint = \"http://***@host\": expected a base URL such as \"http://127.0.0.1:4318\"",
        ),
        (
            "[[function]]\nname = \"f\"\ncommand = [\"x\"]\nmemory = \"0\"",
            "c.toml:4: function[f].memory = \"0\": expected more than 0B",
        ),
    ] {
        assert_eq!(Bench::new(text).errors(), [expected]);
    }
}

#[test]
fn what_does_not_fit_together_is_told() {
    let function = "[[function]]\nname = \"shop\"\ncommand = [\"x\"]\n";
    let errors = |text: &str| Bench::new(&format!("{function}{text}")).errors();
    assert_eq!(
        errors("[[route]]\npath = \"/\"\nfunction = \"shpo\"\n"),
        ["c.toml:6: route[/].function = \"shpo\": expected the name of a [[function]]: one of shop; did you mean `shop`?"]
    );
    assert_eq!(
        errors("[[function]]\nname = \"shop\"\ncommand = [\"y\"]\n"),
        ["c.toml:5: function[shop].name = \"shop\": expected each name once: c.toml:2 has it too"]
    );
    let route = "[[route]]\npath = \"/a\"\nfunction = \"shop\"\n";
    assert_eq!(
        errors(&format!("{route}{}", route.replace("/a", "/a/"))),
        ["c.toml:8: route[/a/].path = \"/a/\": expected each path and host once: c.toml:5 has it too"]
    );
    assert_eq!(
        errors("[runner]\nstatus_function = \"shpo\"\n"),
        ["c.toml:5: runner.status_function = \"shpo\": expected the name of a [[function]]; did you mean `shop`?"]
    );
    assert_eq!(
        errors("[admin]\nlisten = \"127.0.0.1:8080\"\n"),
        ["c.toml:5: admin.listen = \"127.0.0.1:8080\": expected another address than front.listen has"]
    );
    assert_eq!(
        Bench::new("[[function]]\nname = \"f\"\n").errors(),
        [
            "c.toml:1: function[f].command = []: expected the program to run, such as [\"./hello\", \"--fast\"]; only behind pool.protocol = \
          \"plain\" does a function need none"
        ]
    );
    assert_eq!(
        Bench::new("pool.protocol = \"plain\"\n[[function]]\nname = \"f\"\nformat = \"exec\"\n").errors(),
        ["c.toml:2: function[f].command = []: expected a program: format = \"exec\" runs one for each call"]
    );
    assert_eq!(
        errors("directory = \"nowhere\"\n"),
        [
            "c.toml:4: function[shop].directory = \"nowhere\": expected a directory that exists, relative to the file: nowhere is none"
        ]
    );
}

#[test]
fn up_starts_agents_that_can_run_every_function() {
    assert_eq!(
        Bench::new("pool.protocol = \"plain\"\nfleet.memory = \"64MiB\"\n[[function]]\nname = \"f\"\ncommand = [\"sh\"]\n")
            .role(Role::Up)
            .errors(),
        [
            "c.toml:1: pool.protocol = \"plain\": expected \"agent\": `runpool up` starts agents of its own; use `runpool lb` in front of \
             plain servers",
            "c.toml:3: function[f].memory = \"128MiB\": expected at most fleet.memory (64MiB): no runner can ever take a call of this function",
        ]
    );
}

#[test]
fn suspicious_things_are_warned_of_and_stop_nothing() {
    assert_eq!(
        Bench::new("").role(Role::Lb).warnings(),
        ["pool.runners = []: there is no runner: every call will wait for one and then be answered 503"]
    );
    assert_eq!(
        Bench::new("[pool]\nrunners = [\"a:1\"]\n[[function]]\nname = \"f\"\ncommand = [\"no-such-program-here\"]\n")
            .role(Role::Up)
            .warnings(),
        [
            "c.toml:5: function[f].command = [\"no-such-program-here\"]: no such program is on the PATH: calls of this function will fail",
            "c.toml:2: pool.runners = [\"a:1\"]: not used: `runpool up` starts its own runners; use `runpool lb` in front of these",
        ]
    );
    assert_eq!(
        Bench::new("[placement]\nretry_all_delay = \"10s\"\nplacer_timeout = \"5s\"\n").warnings(),
        ["c.toml:2: placement.retry_all_delay = \"10s\": not less than placer_timeout: no runner is ever tried twice"]
    );
    assert_eq!(
        Bench::new("[[function]]\nname = \"f\"\ncommand = [\"x\"]\ndirectory = \"there\"\n[pool]\nrunners = [\"a:1\"]\n")
            .role(Role::Lb)
            .warnings(),
        ["c.toml:4: function[f].directory = \"there\": expected a directory that exists, relative to the file: there is none"]
    );
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_the_file() {
    let text = "wrokers = 1\n[front]\nlisten = 5\nmax_in_flight = 0\n[pool]\nrunners = [1, \"a:1\", 2]\n[[function]]\nname = \".\"\ntimeout = \"x\"\n";
    let bench = Bench::new(text).variable("RUNPOOL_X", "1").set("workers=x");
    let keys: Vec<String> = bench.errors().iter().map(|error| error.split(" = ").next().unwrap().to_owned()).collect();
    assert_eq!(
        keys,
        [
            "c.toml:1: wrokers",
            "c.toml:3: front.listen",
            "c.toml:4: front.max_in_flight",
            "c.toml:6: pool.runners[0]",
            "c.toml:6: pool.runners[1]",
            "c.toml:8: function[.].name",
            "c.toml:9: function[0].timeout",
            "environment variable RUNPOOL_X: no key of the configuration has this name: expected RUNPOOL_SECTION_KEY, such as RUNPOOL_FRONT_LISTEN",
            "flag --set: workers",
        ]
    );
}

#[test]
fn a_text_that_is_not_toml_is_told_with_line_and_column() {
    assert_eq!(
        Bench::new("[front]\nlisten \"x\"\n").errors(),
        ["c.toml:2: syntax error at column 8: key with no value, expected `=`"]
    );
    assert_eq!(Bench::new("workers = 1\nworkers = 2\n").errors(), ["c.toml:2: syntax error at column 1: duplicate key"]);
    assert_eq!(Bench::with_bytes(b"a = 1\nb = \"\xff\"\n").errors(), ["c.toml:2: the file is not UTF-8 text: expected TOML"]);
}

#[test]
fn a_file_from_elsewhere_cannot_steer_the_terminal_nor_fill_it() {
    let errors = Bench::new(&format!("\"a\\u001B[2J\" = \"\\u001B{}\"\n", "x".repeat(10_000))).errors().join("");
    assert!(errors.starts_with("c.toml:1: a\\u{1b}[2J = \"\\u{1b}xxx") && errors.len() < 500, "{errors}");
}

#[test]
fn brackets_in_brackets_are_an_error_and_no_overflow() {
    assert!(Bench::new(&format!("a = {}", "[".repeat(100_000))).load().is_err());
    assert!(Bench::new(&format!("a = {}", "{a=".repeat(100_000))).load().is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let sources = Sources { file: Some("/nowhere/c.toml".into()), ..Sources::default() };
    let error = Config::load(&sources).unwrap_err().to_string();
    assert_eq!(error, "/nowhere/c.toml: could not read the file: No such file or directory (os error 2)");
}

#[test]
fn secrets_are_masked_in_everything_that_is_printed() {
    let text = "[[function]]\nname = \"f\"\ncommand = [\"x\"]\nconfig = { PASSWORD = \"hunter2\", PLAIN = \"hunter3\" }\n";
    let loaded = Bench::new(text).ok();
    let printed = [
        loaded.render(RenderFormat::Toml),
        loaded.render(RenderFormat::Json),
        format!("{loaded:?}"),
        format!("{:?}", loaded.config),
    ];
    for text in printed {
        assert!(text.contains("PASSWORD") && text.contains("***") && !text.contains("hunter"), "{text}");
    }
    let wrong = Bench::new("[[function]]\nname = \"f\"\ncommand = [\"x\"]\nconfig = { PIN = 7777 }\n").errors();
    assert_eq!(wrong, ["c.toml:4: function[f].config.PIN = ***: expected a text in quotes"]);
}

#[test]
fn what_is_printed_is_a_configuration_again() {
    let text = "workers = 2\n[front]\nexpose = \"without-authentication\"\nlisten = \"0.0.0.0:80\"\n[[function]]\nname = \"f\"\ncommand = [\"x\", \"a \\\"b\\\"\"]\n\
                [[function]]\nname = \"g\"\ncommand = [\"y\"]\n[[route]]\npath = \"/\"\nfunction = \"f\"\n";
    let loaded = Bench::new(text).ok();
    let printed = loaded.render(RenderFormat::Toml);
    assert!(printed.contains("\nlisten = \"0.0.0.0:80\""), "{printed}");
    assert!(printed.contains("# default\n") && printed.contains("c.toml:4\n"), "{printed}");
    assert!(printed.contains("# socket_directory is not set"), "{printed}");
    assert_eq!(Bench::new(&printed).ok().config, loaded.config);
}

#[test]
fn the_printed_json_has_key_value_and_origin() {
    let loaded = Bench::new("workers = 2\n").ok();
    let json: serde_json::Value = serde_json::from_str(&loaded.render(RenderFormat::Json)).unwrap();
    let workers = json["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == "workers").unwrap();
    assert_eq!(workers["value"], 2);
    assert_eq!(workers["origin"]["source"], "file");
    assert_eq!(workers["origin"]["line"], 1);
}

#[test]
fn what_a_reload_cannot_change_is_named() {
    let before = Bench::new("workers = 1\n[pool]\nrunners = [\"a:1\"]\n").ok();
    let after = Bench::new("workers = 2\n[pool]\nrunners = [\"b:1\"]\nidle_timeout = \"1s\"\n").ok();
    assert_eq!(before.needs_restart(&after), ["workers", "pool.idle_timeout"]);
    assert_eq!(before.needs_restart(&before), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_the_loader_panic(text in any::<String>(), variable in "[A-Z_]{0,20}", value in any::<String>()) {
        let _ = Bench::new(&text).variable(&format!("RUNPOOL_{variable}"), &value).set(&value).load();
    }

    /// Texts that are closer to configurations: real keys with values of every kind.
    #[test]
    fn no_configuration_makes_the_loader_panic(lines in proptest::collection::vec(line(), 0..12)) {
        let text = lines.concat();
        match Bench::new(&text).role(Role::Up).load() {
            Ok(loaded) => prop_assert!(!loaded.render(RenderFormat::Toml).is_empty()),
            Err(errors) => prop_assert!(errors.iter().count() > 0),
        }
    }
}

fn line() -> impl Strategy<Value = String> {
    let tables =
        ["[front]", "[pool]", "[placement]", "[telemetry]", "[fleet]", "[[function]]", "[[route]]", "[runner]", "[front.limits]"];
    let keys = [
        "listen", "runners", "name", "path", "function", "command", "buckets", "config", "placer", "expose", "workers", "limits",
        "memory",
    ];
    let values = [
        "1",
        "-5",
        "true",
        "\"x\"",
        "\"/\"",
        "[1, \"a:1\"]",
        "{ a = 1 }",
        "[]",
        "1e400",
        "nan",
        "2020-01-01",
        "\"127.0.0.1:1\"",
        "[[]]",
    ];
    prop_oneof![
        proptest::sample::select(tables.to_vec()).prop_map(|table| format!("{table}\n")),
        (proptest::sample::select(keys.to_vec()), proptest::sample::select(values.to_vec()))
            .prop_map(|(key, value)| format!("{key} = {value}\n")),
    ]
}

/// SHA-256 of nothing in particular.
const HASH: &str = "sha256:d7ecdf25eaf3deba0f2628771dbdd22d4138ab6cf38f91ed02a2ca0dec7c8ab7";

#[test]
fn tokens_that_functions_name_must_be_there_and_guard_a_listener_beyond_loopback() {
    let text = |name: &str, front: &str| {
        format!(
            "[front]\n{front}\ntokens = [{{ name = \"shop\", hash = \"{HASH}\" }}]\n[[function]]\nname = \"f\"\ncommand = [\"x\"]\naccess = \
             \"token\"\ntokens = [\"{name}\"]\n"
        )
    };
    assert_eq!(
        Bench::new(&text("shopp", "")).errors(),
        ["c.toml:8: function[f].tokens[0] = ***: expected the name of one of front.tokens: shop; did you mean `shop`?"]
    );
    let warnings = Bench::new(&text("shop", "listen = \"0.0.0.0:80\"")).warnings();
    assert!(warnings.iter().any(|warning| warning.contains("tokens come here in clear")), "{warnings:?}");
}

#[test]
fn neither_tokens_nor_their_hashes_are_printed() {
    let text = format!(
        "[front]\ntokens = [{{ name = \"shop\", hash = \"{HASH}\", rate_limit = {{ per_second = 7 }} }}]\n[admin]\ntokens = [{{ name = \
         \"anna\", hash = \"{HASH}\", role = \"operate\" }}]\n"
    );
    let loaded = Bench::new(&text).ok();
    let printed = format!("{}{}{loaded:?}", loaded.render(RenderFormat::Toml), loaded.render(RenderFormat::Json));
    assert!(!printed.contains(HASH.get(7..30).unwrap()), "{printed}");
    for part in ["[[front.tokens]]", "name = \"shop\"", "rate_limit.per_second = 7", "role = \"operate\""] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}
