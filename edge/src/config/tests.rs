use super::*;

fn read(text: &str) -> Result<Settings, String> {
    let settings: Settings = parse(text).map_err(|error| error.to_string())?;
    settings.check().map_err(|error| error.to_string())?;
    Ok(settings)
}

const BROKER: &str = "[broker]\nurl = 'mqtt://h'\nclient_id = 'c'\n";

#[test]
fn an_empty_file_is_right() {
    let settings = read("").unwrap();
    assert_eq!(settings.http.metrics_listen.to_string(), "0.0.0.0:9600");
    assert_eq!((settings.outputs[0].name.as_str(), settings.queue.capacity_mib), ("output1", 64));
}

#[test]
fn what_is_wrong_is_named() {
    for (text, expected) in [
        ("modles = []", "modles"),
        ("[queue]\ncapacity_mib = 0", "queue.capacity_mib"),
        ("[queue]\nparallel = 65", "queue.parallel"),
        ("watchdog_s = 1", "watchdog_s"),
        ("[thermal]\nlimit_c = 80000", "thermal.limit_c"),
        ("[queue]\nmax_age_ms = 0", "queue.max_age_ms"),
        ("[module]\nmax_packet_bytes = 1", "module.max_packet_bytes"),
        ("[[outputs]]\nname = 'a b'", "`a b`"),
        ("[[outputs]]\nname = 'a'\n[[outputs]]\nname = 'a'", "differ"),
        (&format!("{BROKER}routes = []"), "broker.routes"),
        (&format!("{BROKER}[[broker.routes]]\nfrom = 'a/#/b'\nto = 'x'"), "`a/#/b`"),
        (&format!("{BROKER}[[broker.routes]]\nfrom = 'a/+'\nto = 'x/{{2}}'"), "`x/{2}`"),
        (&format!("{BROKER}[[broker.routes]]\nfrom = 'a'\nto = 'x'\noutput = 'no'"), "`no`"),
        (&format!("{BROKER}[[broker.routes]]\nfrom = 'a/#'\nto = 'a/{{1}}/scored'"), "its own `from`"),
        (&format!("{BROKER}[[broker.routes]]\nfrom = '$share/g/a'\nto = 'x'"), "`$share/g/a`"),
        (&(BROKER.replace("'c'", "''") + "routes = []"), "broker.client_id"),
        (&BROKER.replace("mqtt:", "http:"), "routes"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_may_be_secret_is_not_shown() {
    let text = "log = 'info'\n[broker]\nurl = 'mqtt://h'\npassword = 'hunter2'";
    let said = read(text).unwrap_err();
    assert!(said.starts_with("line 4: unknown field `password`") && !said.contains("hunter2"), "{said}");
    let url = format!("{}routes = []", BROKER.replace("mqtt://h", "mqtt://me:hunter2@h"));
    let said = read(&url).unwrap_err();
    assert!(said.contains("broker.url") && !said.contains("hunter2"), "{said}");
    let said = read("broker = 'mqtt://me:hunter2@h'").unwrap_err();
    assert!(said.starts_with("line 1: `broker`: invalid type: string") && !said.contains("hunter2"), "{said}");
    assert!(!format!("{:?}", Secret("hunter2".into())).contains("hunter2"));
}

#[test]
fn the_environment_stands_over_the_file() {
    let mut settings = read(&format!("{BROKER}[[broker.routes]]\nfrom = 'a'\nto = 'b'")).unwrap();
    let variable = |name| match name {
        "HEDEF_ROOTS" => Some("/a:/b".into()),
        "HEDEF_LISTEN" => Some("0.0.0.0:1".into()),
        "HEDEF_BROKER" => Some("mqtts://other".into()),
        _ => None,
    };
    settings.overlay(variable).unwrap();
    assert_eq!(settings.models, [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!((settings.http.listen.port(), settings.broker.unwrap().url.as_str()), (1, "mqtts://other"));
    let wrong = |name| (name == "HEDEF_LISTEN").then(|| "nowhere".into());
    assert!(Settings::default().overlay(wrong).unwrap_err().to_string().starts_with("HEDEF_LISTEN"));
}
