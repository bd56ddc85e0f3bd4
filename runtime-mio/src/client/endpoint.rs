//! Lists of endpoints as people write them.

use super::ClientError;
use std::net::Ipv6Addr;

/// Reads a list of endpoints: `host:port`, separated by commas. Blanks around them do no harm, nor
/// does a comma at the end.
pub fn endpoint_list(text: &str) -> Result<Vec<String>, ClientError> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let list = names.map(endpoint).collect::<Result<Vec<_>, _>>()?;
    match list.is_empty() {
        true => Err(ClientError::Options("there is no endpoint; write host:port".to_owned())),
        false => Ok(list),
    }
}

/// Reads one endpoint.
pub(super) fn endpoint(text: &str) -> Result<String, ClientError> {
    let name = text.trim();
    let wrong = |why: &str| {
        Err(ClientError::Options(format!("the endpoint '{text}' is not like host:port: {why}")))
    };
    if let Some((_, rest)) = name.split_once("://") {
        let bare = rest.trim_end_matches('/');
        return wrong(&format!("it stands without a scheme; write {bare}"));
    }
    if let Some(odd) = name.chars().find(|c| c.is_whitespace() || "/\\;@?#\"'".contains(*c)) {
        return wrong(&format!("no host name has {odd:?}; commas separate endpoints"));
    }
    let Some((host, port)) = name.rsplit_once(':') else {
        return wrong("the port is missing");
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match (bracketed, host) {
        (_, "") => return wrong("the host is missing"),
        (Some(address), _) if address.parse::<Ipv6Addr>().is_ok() => {}
        (None, host) if !host.contains([':', '[', ']']) => {}
        _ => return wrong("brackets are for an IPv6 address, which needs them: [::1]:4213"),
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(name.to_owned()),
        _ => wrong("the port must be a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_endpoints_is_taken_as_people_write_it() {
        for text in ["a:1,b:2", "a:1, b:2", " a:1 ,b:2,", "a:1,\n b:2\n", ",a:1,,b:2"] {
            assert_eq!(endpoint_list(text).unwrap(), ["a:1", "b:2"], "{text}");
        }
        assert_eq!(endpoint_list("[::1]:1,127.0.0.1:2").unwrap(), ["[::1]:1", "127.0.0.1:2"]);
    }

    #[test]
    fn what_is_no_endpoint_is_answered_with_the_right_word() {
        for (text, says) in [
            ("", "no endpoint"),
            (" , ", "no endpoint"),
            ("http://a:1", "without a scheme; write a:1"),
            ("zk://a:1/x", "without a scheme"),
            ("a:1/", "'/'"),
            ("a:1 b:2", "commas separate"),
            ("a:1;b:2", "commas separate"),
            ("a", "the port is missing"),
            (":1", "the host is missing"),
            ("a:0", "1 to 65535"),
            ("a:65536", "1 to 65535"),
            ("a:x", "1 to 65535"),
            ("::1:4213", "[::1]:4213"),
            ("[127.0.0.1:1]", "brackets"),
            ("[127.0.0.1]:1", "brackets"),
            ("[a:1", "brackets"),
        ] {
            let error = endpoint_list(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
