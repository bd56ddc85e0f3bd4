//! JSON objects read the way Go's `encoding/json` reads them into structs, but without its
//! forgiveness: names of fields match in any case, a field that is unknown or given twice is an
//! error that says where it is.

use super::{ConfigError, Problem};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A JSON value that remembers fields given twice.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Bool,
    Number(Option<u64>),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    /// What kind of value it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
                Ok(Json::Bool)
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(Some(value)))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
                Ok(Json::Number(None))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
                Ok(Json::Number(None))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = seq.next_element()? {
                    list.push(value);
                }
                Ok(Json::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Json::Object(fields))
            }
        }
        from.deserialize_any(Any)
    }
}

/// The fields of one object, taken out one by one.
pub(super) struct Fields<'a> {
    file: &'a str,
    place: String,
    fields: Vec<(String, Json)>,
}

impl<'a> Fields<'a> {
    /// The fields of `json`, which stands at `place`; only those in `known` may be there.
    pub(super) fn new(
        file: &'a str,
        place: &str,
        json: Json,
        known: &[&str],
    ) -> Result<Self, ConfigError> {
        let fail = |place: &str, problem| Err(ConfigError::new(file, place, problem));
        let fields = match json {
            Json::Object(fields) => fields,
            other => {
                return fail(place, Problem::Type { wanted: "an object", got: other.kind() });
            }
        };
        for (index, (name, _)) in fields.iter().enumerate() {
            let place = join(place, name);
            if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return fail(&place, Problem::Unknown(known.join(", ")));
            }
            let same = |(other, _): &(String, Json)| other.eq_ignore_ascii_case(name);
            if fields.iter().take(index).any(same) {
                return fail(&place, Problem::Twice);
            }
        }
        Ok(Self { file, place: place.to_owned(), fields })
    }

    /// An error about the field `name`.
    pub(super) fn error(&self, name: &str, problem: Problem) -> ConfigError {
        ConfigError::new(self.file, &join(&self.place, name), problem)
    }

    /// Takes a field. One that is `null` counts as absent, as in Go.
    pub(super) fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.fields.iter().position(|(n, _)| n.eq_ignore_ascii_case(name))?;
        match self.fields.swap_remove(at).1 {
            Json::Null => None,
            json => Some(json),
        }
    }

    /// Takes a text, if it is there.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ConfigError> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(name, "a text in quotes", &other)),
        }
    }

    /// Takes a whole number within the range, if it is there.
    pub(super) fn number(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Number(Some(value))) if range.contains(&value) => Ok(Some(value)),
            Some(Json::Number(_)) => {
                Err(self.error(name, Problem::Range { least: *range.start(), most: *range.end() }))
            }
            Some(other) => Err(self.wrong_type(name, "a whole number", &other)),
        }
    }

    /// Takes a list, if it is there.
    pub(super) fn list(&mut self, name: &str) -> Result<Option<Vec<Json>>, ConfigError> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::List(list)) => Ok(Some(list)),
            Some(other) => Err(self.wrong_type(name, "a list", &other)),
        }
    }

    fn wrong_type(&self, name: &str, wanted: &'static str, got: &Json) -> ConfigError {
        self.error(name, Problem::Type { wanted, got: got.kind() })
    }
}

fn join(place: &str, name: &str) -> String {
    match place {
        "" => name.to_owned(),
        place => format!("{place}.{name}"),
    }
}
