//! Sites: constructors, one for each point of the forward pass, and narrowing.

use std::ops::{Range, RangeInclusive};
use std::sync::LazyLock;

use rhai::{Array, Dynamic, ImmutableString};

use super::loaded::Model;
use crate::model::{Config, Point};
use crate::run::{Heads, Pos, Site, names};
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::bind::refusal;
use crate::script::error::ScriptResult;

/// What makes a site at a point: its signature, an example and what that gives.
struct Constructor {
    point: Point,
    signature: String,
    example: String,
    canonical: String,
}

/// One for each point of the forward pass.
static CONSTRUCTORS: LazyLock<Vec<Constructor>> =
    LazyLock::new(|| Point::ALL.into_iter().map(constructor).collect());

fn constructor(point: Point) -> Constructor {
    let name = point.name();
    let (parameters, arguments, place) = match point.in_layer() {
        true => ("layer: int", "1", ".1"),
        false => ("", "", ""),
    };
    let (narrowed, part) = match (point.has_heads(), point.has_neurons()) {
        (true, _) => (".head(0)", ".0"),
        (_, true) => (".neuron(7)", ".7"),
        _ => ("", ""),
    };
    Constructor {
        point,
        signature: format!("{name}({parameters}) -> Site"),
        example: format!("{name}({arguments}){narrowed}"),
        canonical: format!("{name}{place}{part}"),
    }
}

/// Registers Site and Position.
pub fn register(api: &mut Api) {
    api.ty::<Site>("Site", "an activation of the forward pass, perhaps narrowed", ToString::to_string);
    api.ty::<Pos>("Position", "a position that is looked up in each prompt", ToString::to_string);
    for Constructor { point, signature, example, canonical } in CONSTRUCTORS.iter() {
        let binding = api.function(signature, point.meaning()).example(example, canonical);
        if point.in_layer() {
            binding.native(|layer: i64| -> ScriptResult<Site> {
                Ok(Site::new(*point, args::size(&layer.into())?))
            });
        } else {
            binding.native(|| Site::new(*point, 0));
        }
    }
    api.function("site(name: string) -> Site", "a site by any of its names")
        .example("site(\"model.layers.1.self_attn.o_proj.input\")", "z.1")
        .native(parse);
    positions(api);
    narrowing(api);
}

/// Refuses a text that names no site.
pub fn check(name: &str) -> ScriptResult<()> {
    parse(name).map(|_| ())
}

fn parse(name: &str) -> ScriptResult<Site> {
    Site::parse(name).map_err(refusal::run)
}

/// A Site, or a string that names one.
pub fn read(value: &Dynamic) -> ScriptResult<Site> {
    match value.read_lock::<Site>() {
        Some(site) => Ok(site.clone()),
        None if value.is_string() => parse(&args::string(value)?),
        None => Err(expected("a Site", value).into()),
    }
}

/// One site or an array of sites, in which a text may name several: `"z.*"`, `"all"`. Each is listed once.
pub fn list(value: &Dynamic, config: &Config) -> ScriptResult<Vec<Site>> {
    let some = |value: &Dynamic| match value.is_string() {
        true => names::parse_many(&args::string(value)?, config).map_err(refusal::run),
        false => Ok(vec![read(value)?]),
    };
    let all = if value.is_array() { args::each(value, some)? } else { vec![some(value)?] };
    let mut sites: Vec<Site> = Vec::new();
    for site in all.into_iter().flatten() {
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    Ok(sites)
}

/// A half-open range of ints, if it is one.
pub fn range(value: &Dynamic) -> Option<(i64, i64)> {
    let half_open = value.read_lock::<Range<i64>>().map(|range| (range.start, range.end));
    half_open.or_else(|| {
        value.read_lock::<RangeInclusive<i64>>().map(|range| (*range.start(), range.end().saturating_add(1)))
    })
}

/// How many ints are in `from..to`.
pub fn len(from: i64, to: i64) -> usize {
    usize::try_from(i128::from(to) - i128::from(from)).unwrap_or(0)
}

fn pos(value: &Dynamic) -> ScriptResult<Pos> {
    if let Some(pos) = value.read_lock::<Pos>() {
        return Ok(pos.clone());
    }
    if let Some((from, to)) = range(value) {
        return Ok(Pos::Range(from, to));
    }
    match value.as_int() {
        Ok(index) => Ok(Pos::Index(index)),
        Err(_) if value.is_array() => Ok(Pos::List(args::each(value, args::int)?)),
        Err(_) => {
            let refused = expected("a position: an int, a range, an array, `tok`, `span` or `last`", value);
            Err(match value.read_lock::<ImmutableString>() {
                Some(text) => refused.help(format!("the token of a text is `tok({:?})`", text.as_str())),
                None => refused,
            }
            .into())
        }
    }
}

fn positions(api: &mut Api) {
    api.function("tok(text: string) -> Position", "the first token that contains the text")
        .example("resid_post(1).at(tok(\"gave\"))", "resid_post.1 at tok(\"gave\")")
        .native(|text: &str| Pos::Token(text.into()));
    api.function("span(text: string) -> Position", "the tokens that cover the text")
        .example("resid_post(1).at(span(\"John gave\"))", "resid_post.1 at span(\"John gave\")")
        .native(|text: &str| Pos::Span(text.into()));
    api.function("last() -> Position", "the last token")
        .example("load().trace(\" John gave\")[resid_post(1).at(last())].shape", "[256]")
        .native(|| Pos::Last);
}

fn narrowing(api: &mut Api) {
    api.method(
        "Site",
        "at(position: any) -> Site",
        "at one position (negative from the end), a range, an array of positions, `tok`, `span` or `last`",
    )
    .example("load().trace(\" John gave Mary\")[resid_post(1).at(0..2)].shape", "[2, 256]")
    .native(|site: &mut Site, position: Dynamic| -> ScriptResult<Site> {
        Ok(site.clone().at(pos(&position)?))
    });
    api.method("Site", "head(head: int) -> Site", "one attention head; reading drops the axis")
        .example("load().trace(\" John gave\")[z(1).head(3)].shape", "[3, 32]")
        .native(|site: &mut Site, head: i64| -> ScriptResult<Site> {
            Ok(site.clone().heads(Heads::One(args::size(&head.into())?)))
        });
    api.method("Site", "heads(heads: array) -> Site", "several attention heads")
        .example("load().trace(\" John gave\")[z(1).heads([0, 3])].shape", "[3, 2, 32]")
        .native(|site: &mut Site, heads: Array| -> ScriptResult<Site> {
            Ok(site.clone().heads(Heads::Many(args::each(&heads.into(), args::size)?)))
        });
    api.method("Site", "neuron(neuron: int) -> Site", "one neuron of an MLP; reading drops the axis")
        .example("load().trace(\" John gave\")[mlp_post(1).neuron(7)].shape", "[3]")
        .native(|site: &mut Site, neuron: i64| -> ScriptResult<Site> {
            Ok(site.clone().neuron(args::size(&neuron.into())?))
        });
    api.method("Site", "info(model: Model) -> string", "shape, other names and meaning on this architecture")
        .example(
            "pattern(1).info(load())",
            "pattern.1: [8, query, key]\nattention probabilities\nalso: blocks.1.attn.hook_pattern",
        )
        .native(|site: &mut Site, model: Model| -> ScriptResult<String> {
            site.info(model.inner.config()).map_err(refusal::run)
        });
}
