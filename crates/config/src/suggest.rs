//! What may have been meant by a word that is unknown.

/// How alike two words have to be, from 0 to 1, for one to be taken for the other.
const LIKENESS_MIN: f64 = 0.75;

/// Returns the word that may have been meant.
pub fn closest<'w>(given: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let given = given.to_lowercase().replace('_', "-");
    let likeness = |known: &str| strsim::jaro_winkler(&given, &known.to_lowercase());
    known
        .into_iter()
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}

/// Asks whether this word was meant.
pub fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// Returns a hint: what may have been meant, or all there is.
pub(crate) fn hint(given: &str, known: &[String]) -> String {
    closest(given, known.iter().map(String::as_str))
        .map_or_else(|| format!("the keys here are {}", list(known)), did_you_mean)
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_nearly_right_is_recognized() {
        let known = ["port", "strict-port", "no-hold", "processes", "ignore"];
        for (given, meant) in [
            ("prot", "port"),
            ("strict_port", "strict-port"),
            ("NoHold", "no-hold"),
            ("process", "processes"),
        ] {
            assert_eq!(closest(given, known), Some(meant));
        }
        assert_eq!(closest("database", known), None);
    }
}
