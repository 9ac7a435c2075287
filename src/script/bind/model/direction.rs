//! What is in the residual stream, as part of a logit.

use candle_core::Device;
use rhai::{Dynamic, Map};

use super::loaded::Model;
use crate::model::Direction;
use crate::script::api::Api;
use crate::script::bind::refusal;
use crate::script::bind::tensor::{self, Tensor};
use crate::script::error::{ScriptResult, fail};

impl Model {
    fn logit_direction(&self, resid: &Tensor, plus: u32, minus: Option<u32>) -> ScriptResult<Map> {
        let d_model = self.inner.config().d_model;
        if resid.dims() != [d_model] {
            return Err(fail(format!("expected a residual vector [{d_model}], found {:?}", resid.dims()))
                .help("read one with `trace[resid_post(m.n_layers - 1)][-1]`")
                .into());
        }
        let (inner, resid) = (self.inner.clone(), resid.inner().clone());
        let found = self.context.apart(move || inner.transformer.direction(&resid, plus, minus))?;
        let Direction { direction, constant } = found.map_err(refusal::model)?;
        let direction = candle_core::Tensor::from_iter(direction.into_iter().map(|x| x as f32), &Device::Cpu);
        let direction = Tensor::new(&self.context, direction.map_err(tensor::refused)?)?;
        let fields: [(&str, Dynamic); 2] =
            [("direction", Dynamic::from(direction)), ("constant", constant.into())];
        Ok(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

/// Registers the verb.
pub fn register(api: &mut Api) {
    api.method(
        "Model",
        "logit_direction(resid: Tensor, token: any, other?: any) -> map",
        "the logit of a token, less that of another, as `direction` [d_model] and `constant`: with the final norm's scale \
         as it is for this residual vector (the last layer's), what a head or MLP adds to the stream adds its product \
         with the direction to the logit, before any soft cap",
    )
    .example(
        "let m = load(); let t = m.trace(\" John gave\"); let resid = t[resid_post(7)][-1]; \
         let to = m.logit_direction(resid, \" Mary\", \" John\"); \
         (resid.dot(to.direction) + to.constant - logit_diff(\" Mary\", \" John\").of(t)).abs() < 1e-4",
        "true",
    )
    .native(|model: &mut Model, resid: Tensor, token: Dynamic| -> ScriptResult<Map> {
        model.logit_direction(&resid, model.token(&token)?, None)
    })
    .native(|model: &mut Model, resid: Tensor, token: Dynamic, other: Dynamic| -> ScriptResult<Map> {
        model.logit_direction(&resid, model.token(&token)?, Some(model.token(&other)?))
    });
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn mistakes_are_met_with_the_cure() {
        check(&[
            (
                "load().logit_direction(zeros([3, 256]), \" Mary\")",
                "expected a residual vector [256], found [3, 256]; read one with `trace[resid_post(m.n_layers - 1)][-1]`",
            ),
            ("load().logit_direction(zeros([256]), 4096)", "token id 4096 is outside the vocabulary of 4096"),
            (
                "load().logit_direction(zeros([256]), \" John\", \" Mary gave\")",
                "` Mary gave` is 2 tokens: ` Mary` ` gave`; no spelling of it is one token: choose words that are, compare texts \
                 token by token with `loss(\" Mary gave\")`, or ask for its first piece alone, ` Mary`, which other words share",
            ),
        ]);
    }

    #[test]
    fn one_token_alone_has_a_direction_too() {
        check(&[(
            "let m = load(); let t = m.trace(\" John gave\"); let resid = t[resid_post(7)][-1]; \
             (resid.dot(m.logit_direction(resid, 5).direction) - t.last[5]).abs() < 1e-4",
            "true",
        )]);
    }
}
