//! The one-line notation of a script function: `find(text: string, from?: int) -> int`.
//!
//! A field is `n_layers -> int`, an operator `+(other: Tensor) -> Tensor`, an index `[i: int] -> string`.
//! A missing result means that the function returns nothing.

use crate::help::Help;
use std::fmt;

/// A parameter: its name, the type as the reader sees it, and whether it may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: &'static str,
    pub ty: &'static str,
    pub optional: bool,
}

/// A parsed signature line. `params` is `None` for a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub name: &'static str,
    pub params: Option<Vec<Param>>,
    pub result: &'static str,
}

/// A signature line that does not follow the notation: a mistake in a binding.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("signature `{line}`: {reason}")]
pub struct SignatureError {
    line: String,
    reason: &'static str,
}

impl Help for SignatureError {
    fn help(&self) -> Option<String> {
        Some("write `name(param: type, optional?: type) -> type`".into())
    }
}

impl Signature {
    /// Parses one line.
    pub fn parse(line: &'static str) -> Result<Self, SignatureError> {
        let error = |reason| SignatureError { line: line.into(), reason };
        let (open, arrow) = (line.find(['(', '[']), line.find("->"));
        let Some(open) = open.filter(|open| arrow.is_none_or(|arrow| *open < arrow)) else {
            let (name, result) = line.split_once("->").ok_or_else(|| error("a field needs `-> type`"))?;
            return field(name.trim(), result.trim()).ok_or_else(|| error("a field is `name -> type`"));
        };
        let close = closing(line, open).ok_or_else(|| error("the parameter list is not closed"))?;
        let (head, params, rest) = (&line[..open], &line[open + 1..close], &line[close + 1..]);
        let name = match head.trim() {
            "" if line.starts_with('[') => "[]",
            "" => return Err(error("the name is missing")),
            name => name,
        };
        let result = match rest.trim() {
            "" => "()",
            rest => {
                rest.strip_prefix("->").ok_or_else(|| error("expected `->` after the parameters"))?.trim()
            }
        };
        if result.is_empty() {
            return Err(error("the result type is missing"));
        }
        let params = split_top_level(params)
            .into_iter()
            .map(|text| param(text).ok_or_else(|| error("a parameter is `name: type`")))
            .collect::<Result<Vec<_>, _>>()?;
        let mut optional = false;
        for param in &params {
            if optional && !param.optional {
                return Err(error("a required parameter follows an optional one"));
            }
            optional = param.optional;
        }
        Ok(Self { name, params: Some(params), result })
    }
}

fn field(name: &'static str, result: &'static str) -> Option<Signature> {
    (!name.is_empty() && !result.is_empty()).then_some(Signature { name, params: None, result })
}

fn param(text: &'static str) -> Option<Param> {
    let (name, ty) = text.split_once(':')?;
    let (name, ty) = (name.trim(), ty.trim());
    let optional = name.ends_with('?');
    let name = name.trim_end_matches('?');
    (!name.is_empty() && !ty.is_empty()).then_some(Param { name, ty, optional })
}

/// The byte offset of the bracket that closes the one at `open`.
fn closing(line: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in line.char_indices().skip_while(|(at, _)| *at < open) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Splits at commas outside brackets; an empty text has no parts.
fn split_top_level(text: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(&text[start..]);
    }
    parts
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.optional { "?" } else { "" };
        write!(f, "{}{mark}: {}", self.name, self.ty)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.params {
            None => write!(f, "{} -> {}", self.name, self.result),
            Some(params) => {
                let list = params.iter().map(Param::to_string).collect::<Vec<_>>().join(", ");
                match self.name {
                    "[]" => write!(f, "[{list}]")?,
                    name => write!(f, "{name}({list})")?,
                }
                if self.result != "()" {
                    write!(f, " -> {}", self.result)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_as_written() {
        for line in [
            "find(text: string, from?: int) -> int",
            "n_layers -> int",
            "ids -> [int]",
            "config -> #{name: any}",
            "+(other: Tensor | float) -> Tensor",
            "[i: int] -> string",
            "sweep(rows: [int], cell: fn(int, int) -> Patch, options?: #{a: int, b: int}) -> Grid",
            "assert(condition: bool, message?: string)",
            "last() -> Site",
        ] {
            assert_eq!(Signature::parse(line).map(|s| s.to_string()), Ok(line.to_string()));
        }
    }

    #[test]
    fn parameters_are_split_outside_brackets() {
        let signature =
            Signature::parse("f(a: [int], g: fn(int, int) -> int, c?: #{x: int, y: int})").unwrap();
        let params = signature.params.unwrap();
        assert_eq!(params.iter().map(|p| p.name).collect::<Vec<_>>(), ["a", "g", "c"]);
        assert_eq!(params[1].ty, "fn(int, int) -> int");
        assert_eq!(params.iter().map(|p| p.optional).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(signature.result, "()");
    }

    #[test]
    fn mistakes_are_named() {
        for (line, reason) in [
            ("f(a)", "a parameter is `name: type`"),
            ("f(a: int", "the parameter list is not closed"),
            ("f(a: int) int", "expected `->` after the parameters"),
            ("f(a?: int, b: int)", "a required parameter follows an optional one"),
            ("f() -> ", "the result type is missing"),
            ("n_layers", "a field needs `-> type`"),
            ("(a: int)", "the name is missing"),
        ] {
            assert_eq!(Signature::parse(line).unwrap_err().reason, reason, "{line}");
        }
    }
}
