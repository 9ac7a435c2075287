//! Methods of strings that can make much of little, in the place of the engine's, which ask for no room before.

use rhai::{Array, Dynamic, ImmutableString};

use crate::script::api::Api;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Registers the methods.
pub fn register(api: &mut Api) {
    let context = api.context();
    let (of_letter, letters) = (context.clone(), context.clone());
    api.method("string", "replace(find: string | char, by: string | char)", "replaces every `find` in place")
        .example("let s = \"a-b-c\"; s.replace(\"-\", \" \"); s", "\"a b c\"")
        .native(move |text: &mut ImmutableString, find: &str, by: &str| {
            replace(&context, text, text.matches(find).count(), find, by)
        })
        .native(move |text: &mut ImmutableString, find: char, by: &str| {
            let find = find.to_string();
            replace(&of_letter, text, text.matches(&find).count(), &find, by)
        })
        .native(move |text: &mut ImmutableString, find: &str, by: char| {
            replace(&letters, text, text.matches(find).count(), find, &by.to_string())
        });
    let context = api.context();
    let (of_letter, words, chars) = (context.clone(), context.clone(), context.clone());
    api.method(
        "string",
        "split(at?: string | char) -> array",
        "the parts between every `at`, or the words between white space",
    )
    .example("\"a, b\".split(\", \")", "[\"a\", \"b\"]")
    .native(move |text: &mut ImmutableString, at: &str| -> ScriptResult<Array> {
        context.check_len(text.matches(at).count() + 1)?;
        Ok(parts(text.split(at)))
    })
    .native(move |text: &mut ImmutableString, at: char| -> ScriptResult<Array> {
        of_letter.check_len(text.matches(at).count() + 1)?;
        Ok(parts(text.split(at)))
    })
    .native(move |text: &mut ImmutableString| -> ScriptResult<Array> {
        words.check_len(text.split_whitespace().count())?;
        Ok(parts(text.split_whitespace()))
    });
    api.method("string", "to_chars() -> array", "the characters")
        .example("\"ab\".to_chars()", "[a, b]")
        .native(move |text: &mut ImmutableString| -> ScriptResult<Array> {
            chars.check_len(text.chars().count())?;
            Ok(text.chars().map(Dynamic::from).collect())
        });
}

fn parts<'t>(parts: impl Iterator<Item = &'t str>) -> Array {
    parts.map(|part| Dynamic::from(ImmutableString::from(part))).collect()
}

/// Replaces the `found` places of `find`.
fn replace(
    context: &Context,
    text: &mut ImmutableString,
    found: usize,
    find: &str,
    by: &str,
) -> ScriptResult<()> {
    let len = text.len().saturating_add(found.saturating_mul(by.len().saturating_sub(find.len())));
    let most = context.options.limits.string_bytes;
    if len > most {
        return Err(fail(format!("a string of {len} bytes is too long: it may have {most}"))
            .help("replace by less, or allow more: `--max-string`")
            .into());
    }
    crate::memory::reserve(len)?;
    *text = text.replace(find, by).into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn parts_and_replacements_are_the_engines() {
        check(&[
            ("let s = \"aXbX\"; s.replace('X', \"--\"); s", "\"a--b--\""),
            ("let s = \"ab\"; s.replace(\"\", \"-\"); s", "\"-a-b-\""),
            ("\" a  b \".split()", "[\"a\", \"b\"]"),
            ("\"a|b|\".split('|')", "[\"a\", \"b\", \"\"]"),
        ]);
    }

    #[test]
    fn what_grows_too_much_is_refused() {
        check(&[(
            "let s = \"\"; s.pad(60000, \"a\"); let t = s; s.replace(\"a\", t)",
            "a string of 3600000000 bytes is too long: it may have 64000000; replace by less, or allow more: `--max-string`",
        )]);
    }
}
