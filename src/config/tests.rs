use proptest::prelude::{Just, Strategy, prop_assert, prop_oneof, proptest};

use super::*;

fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(None, &Environment::of(pairs), &Flags::default())
}

fn load_file(text: &str) -> Result<Config, ConfigError> {
    let folder = std::env::temp_dir().join(format!("qunliu-config-{}", uuid::Uuid::new_v4()));
    std::fs::write(&folder, text).unwrap();
    let loaded = Config::load(Some(&folder), &Environment::default(), &Flags::default());
    std::fs::remove_file(&folder).unwrap();
    loaded
}

#[test]
fn the_built_in_configuration_is_valid_and_embedded() {
    let config = load(&[]).unwrap();
    assert_eq!(config.stores.backends(), Some(Backends::Embedded));
    assert!(config.server.listen.ip().is_loopback());
}

#[test]
fn what_stands_in_the_built_in_file_is_what_the_stores_default_to() {
    let config = load(&[]).unwrap();
    assert_eq!(config.redis, Default::default());
    assert_eq!(config.mongodb, Default::default());
}

#[test]
fn the_environment_beats_the_file_and_flags_beat_both() {
    let environment = Environment::of(&[("QUNLIU_SERVER_LISTEN", "127.0.0.1:2")]);
    assert_eq!(
        load(&[("QUNLIU_SERVER_LISTEN", "127.0.0.1:2")])
            .unwrap()
            .server
            .listen
            .port(),
        2
    );
    let flags = Flags {
        listen: Some("127.0.0.1:3".to_owned()),
        ..Flags::default()
    };
    let config = Config::load(None, &environment, &flags).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    let pairs = [
        ("QUNLIU_LIMITS_ENABLED", "false"),
        ("QUNLIU_LIMITS_EXEMPT", "loopback,10.0.0.1"),
    ];
    let config = load(&pairs).unwrap();
    assert!(!config.limits.enabled);
    assert_eq!(config.limits.exempt.len(), 2);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_one() {
    for refused in [
        load(&[("QUNLIU_SERVER_LISTN", "127.0.0.1:2")]),
        load_file("[server]\nlistn = \"127.0.0.1:2\""),
    ] {
        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("`server.listn`") && text.contains("`server.listen`"),
            "{text}"
        );
    }
    let text = load_file("[server]\nheartbeat_s = 1");
    let text = text.unwrap_err().to_string();
    assert!(text.contains("`egress.heartbeat_s`"), "{text}");
    let text = load_file("[sever]\nlisten = 1").unwrap_err().to_string();
    assert!(
        text.contains("`sever`") && text.contains("`server`"),
        "{text}"
    );
}

#[test]
fn a_wrong_type_or_bound_names_the_key() {
    for (text, key) in [
        ("[server]\ndrain_s = \"long\"", "server.drain_s"),
        ("[server]\nlisten = \"here\"", "server.listen"),
        ("[server]\ndrain_s = -1", "server.drain_s"),
        ("[auth]\naccess_s = 901", "auth.access_s"),
        ("[limits]\nexempt = [1]", "limits.exempt"),
        ("[log]\nlevel = \"a=b=c\"", "log.level"),
        ("[log]\nformat = \"xml\"", "log.format"),
        ("[tracing]\nsample_percent = 101", "tracing.sample_percent"),
        (
            "[tracing]\notlp_endpoint = \"https://c\"",
            "tracing.otlp_endpoint",
        ),
        ("server = 1", "server"),
    ] {
        let refused = load_file(text).unwrap_err().to_string();
        assert!(refused.contains(&format!("`{key}`")), "{text}: {refused}");
    }
    let refused = load(&[("QUNLIU_SERVER_DRAIN_S", "1s")])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("`server.drain_s`"), "{refused}");
}

#[test]
fn some_but_not_all_stores_are_refused_and_no_secret_is_echoed() {
    let refused = load(&[("QUNLIU_STORES_REDIS", "redis://:hunter2@h")]).unwrap_err();
    assert!(refused.to_string().contains("`stores`"));
    assert!(!refused.to_string().contains("hunter2"));
    let refused = load_file("[stores]\nredis = \"redis://:hunter2@h\" nonsense").unwrap_err();
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
    let all = [
        ("QUNLIU_STORES_REDIS", "redis://:hunter2@h"),
        ("QUNLIU_STORES_MONGODB", "mongodb://h/q"),
        ("QUNLIU_STORES_POSTGRES", "postgres://h/q"),
    ];
    let config = load(&all).unwrap();
    assert_eq!(config.stores.backends(), Some(Backends::Services));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn limits_cannot_be_turned_off_on_a_public_listener() {
    let pairs = [
        ("QUNLIU_LIMITS_ENABLED", "false"),
        ("QUNLIU_HTTP_INSECURE", "true"),
        ("QUNLIU_SERVER_LISTEN", "0.0.0.0:1"),
    ];
    assert!(
        load(&pairs)
            .unwrap_err()
            .to_string()
            .contains("`limits.enabled`")
    );
}

/// Lines as a hurried hand writes them: known and unknown tables and keys, good and bad values.
fn lines() -> impl Strategy<Value = String> {
    let table = prop_oneof![
        "\\[(server|stores|http|auth|limits|redis)\\]",
        "\\[[a-z]{1,8}\\]"
    ];
    let key = prop_oneof![
        "(listen|redis|access_s|enabled|exempt|lease_ms)",
        "[a-z_]{1,10}"
    ];
    let value = prop_oneof![
        Just("true".to_owned()),
        "-?[0-9]{1,20}",
        "\"[a-z0-9:./]{0,20}\"",
        Just("[\"loopback\"]".to_owned()),
        ".{0,10}",
    ];
    let pair = (key, value).prop_map(|(key, value)| format!("{key} = {value}"));
    let line = prop_oneof![1 => table, 3 => pair];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

/// A key that there is, in its section.
fn keys() -> impl Strategy<Value = (String, String)> {
    let reference: toml::Table = REFERENCE.parse().unwrap();
    let all = reference.iter().flat_map(|(section, keys)| {
        let keys = keys.as_table().unwrap().keys();
        keys.map(|key| (section.clone(), key.clone()))
    });
    proptest::sample::select(all.collect::<Vec<_>>())
}

/// Values that hold a canary, of every type.
fn canaries() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("kanariya".to_owned()),
        Just("\"kanariya\"".to_owned()),
        Just("\"kanariya://kanariya:kanariya@kanariya\"".to_owned()),
        Just("\"kanariya".to_owned()),
        Just("4815162342".to_owned()),
        Just("-4815162342".to_owned()),
        Just("4815162342.5".to_owned()),
        Just("4815162342kanariya".to_owned()),
        Just("{ kanariya = 4815162342 }".to_owned()),
    ];
    (scalar, proptest::bool::ANY).prop_map(|(scalar, is_listed)| match is_listed {
        true => format!("[{scalar}]"),
        false => scalar,
    })
}

proptest! {
    #[test]
    fn a_refusal_names_the_key_and_echoes_no_value(
        (section, key) in keys(),
        value in canaries(),
        in_file in proptest::bool::ANY,
    ) {
        let name = format!("QUNLIU_{section}_{key}").to_uppercase();
        let loaded = match in_file {
            true => load_file(&format!("[{section}]\n{key} = {value}")),
            false => load(&[(&name, &value)]),
        };
        if let Err(error) = loaded {
            let place = match &error {
                ConfigError::Syntax { .. } => "line 2".to_owned(),
                // These are refused together with others of the section.
                _ if section == "stores" => section,
                _ => format!("`{section}.{key}`"),
            };
            let told = error.to_string();
            prop_assert!(told.contains(&place), "{place}: {told}");
            let told = format!("{told} {error:?}");
            for canary in ["kanariya", "4815162342"] {
                prop_assert!(!told.contains(canary), "{told}");
            }
        }
    }

    #[test]
    fn any_file_is_taken_or_refused_with_a_reason(text in lines()) {
        if let Err(error) = load_file(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn no_address_of_a_store_is_echoed(name in "[a-z]{1,12}") {
        let url = format!("redis://:hunter2@{name}/");
        let error = load(&[("QUNLIU_STORES_REDIS", &url)]).unwrap_err();
        let told = format!("{error} {error:?}");
        prop_assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn plain_text_beyond_loopback_is_a_decision() {
    let beyond = ("QUNLIU_SERVER_LISTEN", "0.0.0.0:1");
    let refused = load(&[beyond]).unwrap_err().to_string();
    assert!(refused.contains("`server.listen`"), "{refused}");
    for decision in [
        ("QUNLIU_HTTP_INSECURE", "true"),
        ("QUNLIU_HTTP_PROXIES", "10.0.0.0/8"),
    ] {
        assert!(load(&[beyond, decision]).is_ok(), "{decision:?}");
    }
    let beyond = ("QUNLIU_SERVER_ADMIN_LISTEN", "0.0.0.0:1");
    let refused = load(&[beyond]).unwrap_err().to_string();
    assert!(refused.contains("`server.admin_listen`"), "{refused}");
    assert!(load(&[beyond, ("QUNLIU_SERVER_ADMIN_INSECURE", "true")]).is_ok());
}

#[test]
fn limits_are_kept_where_strangers_come() {
    let off = ("QUNLIU_LIMITS_ENABLED", "false");
    assert!(load(&[off]).is_ok());
    for public in [
        &[
            ("QUNLIU_SERVER_LISTEN", "0.0.0.0:1"),
            ("QUNLIU_HTTP_INSECURE", "true"),
        ][..],
        &[("QUNLIU_HTTP_PROXIES", "127.0.0.1")],
    ] {
        let refused = load(&[&[off], public].concat()).unwrap_err().to_string();
        assert!(refused.contains("`limits.enabled`"), "{refused}");
    }
}

#[test]
fn an_address_that_is_none_is_named_and_never_echoed() {
    let good = [
        ("QUNLIU_STORES_REDIS", "redis+cluster://:hunter2@a,b:1"),
        (
            "QUNLIU_STORES_MONGODB",
            "mongodb://u:hunter2@a,b/qunliu?replicaSet=rs0",
        ),
        ("QUNLIU_STORES_POSTGRES", "postgres://u:hunter2@a/qunliu"),
        (
            "QUNLIU_STORES_POSTGRES_REPLICAS",
            "postgresql://u:hunter2@b/qunliu",
        ),
    ];
    assert!(load(&good).is_ok());
    for (index, key, bad) in [
        (0, "stores.redis", "localhost:6379"),
        (0, "stores.redis", "redis+cluster://:hunter2@a/1"),
        (0, "stores.redis", "redis://:hun/ter2@a"),
        (1, "stores.mongodb", "u:hunter2@a/qunliu"),
        (1, "stores.mongodb", "mongodb://u:hunter2?x@a/qunliu"),
        (1, "stores.mongodb", "mongodb://u:hunter2"),
        (2, "stores.postgres", "mysql://u:hunter2@a/qunliu"),
        (2, "stores.postgres", "postgres://u:hunter2@a:port/qunliu"),
        (3, "stores.postgres_replicas", "u:hunter2@b"),
    ] {
        let mut pairs = good;
        pairs[index].1 = bad;
        let error = load(&pairs).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(
            told.contains(&format!("`{key}` is no address as in ")),
            "{bad}: {told}"
        );
        assert!(
            !told.contains("hunter2") && !told.contains("ter2"),
            "{told}"
        );
    }
}

#[test]
fn networks_and_rates_have_bounds() {
    for (name, value, key) in [
        ("QUNLIU_HTTP_PROXIES", "10.0.0.0/33", "http.proxies"),
        ("QUNLIU_HTTP_PROXY_HEADER", "x-real-ip", "http.proxy_header"),
        ("QUNLIU_HTTP_TLS_CERT", "server.pem", "http.tls_cert"),
        ("QUNLIU_LIMITS_EXEMPT", "localhost", "limits.exempt"),
        ("QUNLIU_HTTP_ORIGINS", "shop.example", "http.origins"),
        (
            "QUNLIU_LIMITS_MESSAGES_PER_SECOND",
            "0",
            "limits.messages_per_second",
        ),
        (
            "QUNLIU_LIMITS_ADDITIONS_PER_HOUR",
            "199",
            "limits.additions_per_hour",
        ),
        (
            "QUNLIU_LIMITS_SOCKETS_PER_ADDRESS",
            "0",
            "limits.sockets_per_address",
        ),
    ] {
        let refused = load(&[(name, value)]).unwrap_err().to_string();
        assert!(refused.contains(&format!("`{key}`")), "{name}: {refused}");
    }
}
