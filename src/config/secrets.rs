//! What must not be printed: values of functions' environments, and whatever is called a secret.

use super::tree::Value;

/// What is printed instead.
pub(super) const MASK: &str = "***";

/// Words that, as a part of a key's last name, say that its value is a secret.
///
/// A hash is among them as somebody may have put the token itself in its place.
const SECRET_WORDS: [&str; 8] = ["token", "hash", "secret", "password", "passwd", "passphrase", "credential", "key"];

/// Whether the value at this path is to be masked: `function[greet].config.ANYTHING`, `admin.token`, `tls.private_key`.
pub(super) fn is_secret(path: &str) -> bool {
    if path.starts_with("function") && path.contains(".config") {
        return true;
    }
    // An element of a list is as secret as the list.
    let name = path.rsplit('.').next().unwrap_or(path).split('[').next().unwrap_or_default().to_ascii_lowercase();
    name.split(['_', '-']).any(|part| SECRET_WORDS.iter().any(|word| part == *word || part.strip_suffix('s') == Some(*word)))
}

/// The text with the credentials of a URL in it masked: `http://user:pass@host` becomes `http://***@host`.
pub(super) fn mask_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}{tail}"),
        None => text.to_owned(),
    }
}

/// The value as it may be printed.
pub(super) fn printed(path: &str, value: &Value) -> String {
    match value {
        _ if is_secret(path) => MASK.to_owned(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| printed(path, &item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        value => mask_url(&value.to_string()),
    }
}

/// The same for a value in JSON.
pub(super) fn masked(path: &str, value: serde_json::Value) -> serde_json::Value {
    match value {
        _ if is_secret(path) => MASK.into(),
        serde_json::Value::String(text) => mask_url(&text).into(),
        serde_json::Value::Array(items) => items.into_iter().map(|item| masked(path, item)).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for path in [
            "function[greet].config.HOME",
            "function[0].config",
            "admin.token",
            "front.tokens[shop].hash",
            "tls.private_key",
            "x.api-keys",
            "store.Password",
        ] {
            assert!(is_secret(path), "{path}");
        }
        for path in ["front.listen", "pool.runners", "function[key].timeout", "front.keyboard", "telemetry.monkey"] {
            assert!(!is_secret(path), "{path}");
        }
    }

    #[test]
    fn credentials_in_urls_are_masked() {
        assert_eq!(mask_url("http://me:pass@host:1/a@b"), "http://***@host:1/a@b");
        assert_eq!(mask_url("http://host/a@b"), "http://host/a@b");
        assert_eq!(mask_url("plain"), "plain");
    }
}
