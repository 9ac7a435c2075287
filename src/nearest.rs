//! The name the user most likely meant.

/// Bytes of a name that may be a slip of another.
const LONGEST: usize = 200;

/// The candidate nearest to `name`, if it is near enough to be a slip of the keyboard: at most a third of the
/// letters, never more than three, letter case ignored, an exchange of neighbours counted once. Of one or two letters only
/// the case can be a slip: everything short is near.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody types so long a name, and comparing takes the product of the lengths.
    if name.len() > LONGEST {
        return None;
    }
    let limit = (name.chars().count() / 3).min(3);
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| *candidate != name && candidate.len() <= LONGEST)
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let names = ["layer", "head", "resid_post", "resid_pre", "no_power"];
        assert_eq!(nearest("lyaer", names), Some("layer"));
        assert_eq!(nearest("resid_psot", names), Some("resid_post"));
        assert_eq!(nearest("No Power", names), Some("no_power"));
        assert_eq!(nearest("temperature", names), None);
        assert_eq!(nearest("f", ["of", "g", "F"]), Some("F"));
        assert_eq!(nearest("", names), None);
    }
}
