//! What was expected, in words for people: from serde's words, from the messages of the types, with an example.

use super::keys;
use super::reader::Wrong;
use super::root::Config;

/// What was expected at `path`, to be read after the value: `expected a whole number from 0 to 65535`.
pub(super) fn expected(wrong: &Wrong, path: &str) -> String {
    match wrong {
        Wrong::UnknownKey { .. } => "unknown key".to_owned(),
        Wrong::MissingKey { key } => format!("expected the key `{key}` in this table"),
        Wrong::UnknownWord { words } => format!("expected {}", one_of(words)),
        Wrong::Mismatch { expected } => {
            let example = if expected == "a string" || expected == "u64" { example(path) } else { None };
            let such_as = example.map_or_else(String::new, |example| format!(", such as {example}"));
            format!("expected {}{such_as}", type_in_words(expected))
        }
        Wrong::Refused { message } => refused(message),
    }
}

/// `"a", "b" or "c"`.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// The type's own message already says what was expected: the value in front of it is told by us.
fn refused(message: &str) -> String {
    if message == "invalid socket address syntax" {
        return "expected an IP address with a port, such as \"127.0.0.1:8080\"".to_owned();
    }
    match message.split_once("expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => message.to_owned(),
    }
}

/// Serde names types as Rust does.
fn type_in_words(expected: &str) -> String {
    let whole = |largest: u64| format!("a whole number from 0 to {largest}");
    match expected {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "bool" | "a boolean" => "true or false".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "a sequence" => "a list in [ ]".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

/// The default of a key, as an example of what can stand there.
fn example(path: &str) -> Option<String> {
    let key = keys::all().iter().find(|key| key.path == path)?;
    let defaults = serde_json::to_value(Config::default()).ok()?;
    let value = key.path.split('.').try_fold(&defaults, |value, name| value.get(name))?;
    (!value.is_array()).then(|| value.to_string())
}

/// What the names in `known` offer for a name that is not among them: the nearest, if it is near.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        // A third of the letters may be wrong, one at least.
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_in_words_with_an_example() {
        let mismatch = |expected: &str, path| self::expected(&Wrong::Mismatch { expected: expected.into() }, path);
        assert_eq!(mismatch("u16", "workers"), "expected a whole number from 0 to 65535");
        assert_eq!(mismatch("a string", "placement.placer_timeout"), "expected a text in quotes, such as \"6m\"");
        assert_eq!(mismatch("struct FrontConfig", "front"), "expected a table");
    }

    #[test]
    fn words_are_listed_as_people_do() {
        assert_eq!(one_of(&["a"]), "\"a\"");
        assert_eq!(one_of(&["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }

    #[test]
    fn only_near_names_are_offered() {
        assert_eq!(nearest("plaser", ["placer", "placer_timeout"]), Some("placer"));
        assert_eq!(nearest("lsiten", ["listen", "limits"]), Some("listen"));
        assert_eq!(nearest("banana", ["placer", "placer_timeout"]), None);
    }
}
