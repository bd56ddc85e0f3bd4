//! Settings of all nodes, as they are typed: `--set Timeouts.PingMs=10`.

use serde_json::{Map, Value};

/// The sections of a configuration in which all nodes of a local ensemble can agree. The rest says
/// where a node is.
const SECTIONS: [&str; 2] = ["Timeouts", "Limits"];

/// One setting.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::cli) struct Setting {
    section: String,
    name: String,
    value: u64,
}

/// Reads a setting. Whether there is one of this name, and what it may be, is for the
/// configuration to say.
pub(in crate::cli) fn setting(text: &str) -> Result<Setting, String> {
    let parts = text.split_once('=').and_then(|(key, value)| {
        let (section, name) = key.split_once('.')?;
        Some((section, name, value.parse().ok()?))
    });
    match parts {
        Some((section, name, value)) if SECTIONS.contains(&section) => {
            Ok(Setting { section: section.to_owned(), name: name.to_owned(), value })
        }
        _ => Err(format!(
            "'{text}' is no setting; write it like Timeouts.PingMs=50 or Limits.RetainBytes=8388608"
        )),
    }
}

/// Puts settings into a node's configuration. The last one of a name counts.
pub(in crate::cli) fn put(settings: &[Setting], config: &mut Map<String, Value>) {
    for Setting { section, name, value } in settings {
        let section = config.entry(section.as_str()).or_insert_with(|| Map::new().into());
        if let Some(section) = section.as_object_mut() {
            section.insert(name.clone(), (*value).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_put_where_they_belong() {
        let texts = ["Timeouts.PingMs=10", "Limits.Clients=7", "Timeouts.PingMs=20"];
        let settings = texts.map(|text| setting(text).unwrap());
        let mut config = Map::new();
        put(&settings, &mut config);
        let expected = json!({"Timeouts": {"PingMs": 20}, "Limits": {"Clients": 7}});
        assert_eq!(Value::Object(config), expected);
    }

    #[test]
    fn what_is_no_setting_is_told_how_to_write_one() {
        for text in
            ["", "PingMs=1", "Timeouts.PingMs", "Timeouts.PingMs=fast", "Host.Id=3", "a.b=1"]
        {
            let error = setting(text).unwrap_err();
            assert!(error.contains("write it like Timeouts.PingMs=50"), "{text}: {error}");
        }
    }
}
