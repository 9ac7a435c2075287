//! A page of a mixture's components: what each is called by, the contexts that are most its own, and its rows as a scatter; to
//! look through by token, text or number. Like [`Examples`](super::Examples) it is no figure.

use serde_json::{Value, json};

use super::PlotError;
use super::examples::shell;

/// Components that a page holds at most, and tokens and points of all of them.
const MOST: usize = 10_000;
const MOST_PARTS: usize = 2_000_000;

/// A token where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    pub tokens: Vec<String>,
    /// Which of them it is about.
    pub at: usize,
    pub value: f64,
}

/// A row in the plane of a component.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub label: String,
}

/// One component.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    pub number: usize,
    /// What it is like, by name: `weight`, `0.02`.
    pub facts: Vec<(&'static str, String)>,
    pub contexts: Vec<Context>,
    pub points: Vec<Point>,
}

/// What a page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    pub title: String,
    /// What the axes of all scatters are called.
    pub axes: [String; 2],
    /// The first to be shown first.
    pub components: Vec<Component>,
}

impl Mixture {
    /// The complete page: one file, which needs neither network nor server. It holds as many components as a browser takes
    /// well, and says so where that leaves some out.
    ///
    /// # Errors
    /// No components, a context that is about a token it has not, a point that is nowhere.
    pub fn page(&self) -> Result<Vec<u8>, PlotError> {
        if self.components.is_empty() {
            return Err(PlotError::Empty { figure: "a page" });
        }
        let (mut shown, mut parts) = (Vec::new(), 0);
        for component in &self.components {
            parts += component.contexts.iter().map(|context| context.tokens.len()).sum::<usize>();
            parts += component.points.len();
            if shown.len() == MOST || (parts > MOST_PARTS && !shown.is_empty()) {
                break;
            }
            shown.push(entry(component)?);
        }
        let note = match self.components.len() - shown.len() {
            0 => String::new(),
            left => format!("The first {} of {}.", shown.len(), shown.len() + left),
        };
        let data = json!({ "axes": self.axes, "components": shown });
        let (style, script) = (include_str!("page/mixture.css"), include_str!("page/mixture.js"));
        Ok(shell(&self.title, "component", &note, style, script, &data))
    }
}

fn entry(component: &Component) -> Result<Value, PlotError> {
    let refused = |name, index, value| Err(PlotError::NoPlace { name, index, value });
    if let Some((i, context)) =
        component.contexts.iter().enumerate().find(|(_, context)| context.at >= context.tokens.len())
    {
        return refused("contexts", i, context.at as f64);
    }
    let odd = |point: &Point| [point.x, point.y].into_iter().find(|x| !x.is_finite());
    if let Some((i, x)) = component.points.iter().enumerate().find_map(|(i, point)| Some((i, odd(point)?))) {
        return refused("points", i, x);
    }
    let contexts: Vec<Value> = component
        .contexts
        .iter()
        .map(|context| json!([context.tokens, context.at, format!("{:.4}", context.value)]))
        .collect();
    let points: Vec<Value> =
        component.points.iter().map(|point| json!([point.x as f32, point.y as f32, point.label])).collect();
    Ok(json!([component.number, component.facts, contexts, points]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixture() -> Mixture {
        let context = Context { tokens: vec!["a".into(), "</script><img src=x>".into()], at: 1, value: 0.5 };
        let point = Point { x: 1.0, y: -2.0, label: "<b>".into() };
        let facts = vec![("weight", "0.25".to_string())];
        let component = Component { number: 3, facts, contexts: vec![context], points: vec![point] };
        let axes = ["u0".to_string(), "u1".to_string()];
        Mixture { title: "<i>".into(), axes, components: vec![component] }
    }

    #[test]
    fn the_page_holds_what_is_shown_and_no_text_ends_it() {
        let page = String::from_utf8(mixture().page().unwrap()).unwrap();
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("<title>&lt;i&gt;</title>") && !page.contains("<img"));
        let (_, rest) = page.split_once("id=\"data\">").unwrap();
        let data: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
        let entry = json!([
            3,
            [["weight", "0.25"]],
            [[["a", "</script><img src=x>"], 1, "0.5000"]],
            [[1.0, -2.0, "<b>"]]
        ]);
        assert_eq!(data["components"][0], entry);
        // A name, which nothing is fetched by.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains("http:") && !page.contains("https:"));
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        let mut bad = mixture();
        bad.components[0].contexts[0].at = 2;
        assert!(bad.page().is_err());
        let mut bad = mixture();
        bad.components[0].points[0].y = f64::NAN;
        assert!(bad.page().is_err());
        let mut bad = mixture();
        bad.components.clear();
        assert!(bad.page().is_err());
        let mut many = mixture();
        many.components = vec![many.components[0].clone(); MOST + 5];
        let page = String::from_utf8(many.page().unwrap()).unwrap();
        assert!(page.contains("The first 10000 of 10005."));
    }
}
