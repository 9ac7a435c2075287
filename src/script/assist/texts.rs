//! What may stand inside of a text: sites, models, modules, keys, files.

use std::fs;
use std::path::Path;

use super::facts::Facts;
use super::known::Known;
use super::offer::{Offer, Offers, among};
use super::place::{Kind, Place};
use crate::model::embedded;
use crate::model::hub::cache;
use crate::script::modules::STDLIB;

/// Files of a folder that are looked at.
const FILES: usize = 5_000;

/// What may continue the text that is open from byte `start` on.
pub fn offers(facts: &Facts, place: &Place, text: &str, start: usize) -> Offers {
    let typed = &text[start..];
    let code = &place.code;
    // The last token is the open text itself.
    let at = code.len() - 1;
    let frame = place.frames.last().copied();
    let callees = match frame {
        Some(frame) if frame.kind == Kind::Call => facts.callees(code, frame.open),
        _ => Vec::new(),
    };
    let called = |name: &str| callees.iter().any(|entry| entry.name() == name);
    let takes_sites = frame.is_some_and(|frame| {
        let param = |entry: &&crate::script::api::Entry| {
            entry.signature.params.as_ref()?.get(frame.commas).map(|param| param.name)
        };
        callees.iter().filter_map(param).any(|name| ["site", "sites"].contains(&name)) || called("site")
    });
    match frame.map(|frame| (frame.kind, facts.operand(code, frame.open).0)) {
        _ if code.before(at) == "import" => {
            let stdlib = STDLIB.iter().map(|(name, _)| Offer::plain(*name));
            let found = among(text, typed, stdlib.collect());
            if found.offers.is_empty() { files(text, typed) } else { found }
        }
        _ if called("load") && frame.is_some_and(|frame| frame.commas == 0) => models(text, typed),
        Some((Kind::Index, Some(Known::Map(entries)))) => {
            among(text, typed, entries.into_iter().map(|(key, _)| Offer::plain(key)).collect())
        }
        Some((Kind::Index, of)) if of.as_ref().is_none_or(|of| of.may_be("Trace")) => {
            sites(facts, text, typed)
        }
        Some((Kind::Map, _)) if code.before(at) == ":" && code.before(at - 1) == "watch" => {
            sites(facts, text, typed)
        }
        // A list of sites, in the call around it or as an option.
        Some((Kind::Other, _)) if in_list_of_sites(facts, place) => sites(facts, text, typed),
        _ if takes_sites => sites(facts, text, typed),
        _ => files(text, typed),
    }
}

fn in_list_of_sites(facts: &Facts, place: &Place) -> bool {
    let [.., around, list] = place.frames.as_slice() else { return false };
    if place.code.token(list.open) != "[" {
        return false;
    }
    if around.kind == Kind::Map {
        return place.code.before(list.open) == ":" && place.code.before(list.open - 1) == "watch";
    }
    let entries =
        if around.kind == Kind::Call { facts.callees(&place.code, around.open) } else { Vec::new() };
    let names = entries.iter().filter_map(|entry| entry.signature.params.as_ref()?.get(around.commas));
    names.map(|param| param.name).any(|name| ["site", "sites"].contains(&name))
}

/// Sites of the model, part by part: a point, its layer, its head.
fn sites(facts: &Facts, text: &str, typed: &str) -> Offers {
    let parts: Vec<_> = typed.split('.').collect();
    let config = facts.model.as_ref().map(|model| model.config());
    let points = facts.points();
    let point = points.iter().find(|point| point.name() == parts[0]);
    let numbers = |count: usize| (0..count).map(|n| Offer::plain(n.to_string()));
    let (word, offers): (_, Vec<Offer>) = match (parts.as_slice(), point, config) {
        ([word], ..) => {
            let offer = |point: &crate::model::Point| match point.in_layer() {
                true => Offer { then: ".", shown: format!("{}.", point.name()), text: point.name().into() },
                false => Offer::plain(point.name()),
            };
            (*word, points.iter().map(offer).collect())
        }
        ([_, word], Some(point), Some(config)) if point.in_layer() => {
            (*word, numbers(config.n_layers).chain([Offer::plain("*")]).collect())
        }
        ([_, _, word], Some(point), Some(config)) if point.has_heads() => {
            (*word, numbers(config.n_heads).collect())
        }
        _ => return Offers::default(),
    };
    let mut found = among(text, word, offers);
    // As numbers are counted.
    found.offers.sort_by_key(|offer| offer.text.parse::<usize>().ok());
    found
}

/// What `load` finds: the embedded model, those in the cache of the Hub, files and folders.
fn models(text: &str, typed: &str) -> Offers {
    let cached = cache::names().unwrap_or_default().into_iter();
    let known = [embedded::ID, "random:", "shuffled:"].into_iter().map(String::from);
    let found = among(text, typed, known.chain(cached).map(Offer::plain).collect());
    if found.offers.is_empty() || typed.starts_with(['.', '/']) { files(text, typed) } else { found }
}

/// Files and folders, from the working folder.
pub fn files(text: &str, typed: &str) -> Offers {
    let (folder, word) = typed.rsplit_once('/').map_or(("", typed), |(folder, word)| (folder, word));
    let place = match (folder, typed.starts_with('/')) {
        ("", true) => Path::new("/"),
        ("", false) => Path::new("."),
        (folder, _) => Path::new(folder),
    };
    let entries = fs::read_dir(place).into_iter().flatten().take(FILES).flatten();
    let offer = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        // Hidden files are for those who ask for them.
        if !name.starts_with(word) || name.starts_with('.') && word.is_empty() {
            return None;
        }
        let then = if entry.path().is_dir() { "/" } else { "" };
        Some(Offer { shown: format!("{name}{then}"), text: name, then })
    };
    among(text, word, entries.filter_map(offer).collect())
}
