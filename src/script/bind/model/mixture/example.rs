//! The mixture that examples stand on: small and quick to train.

/// Activations of the demo model, a mixture of them, and `$rest`.
macro_rules! mixture {
    ($rest:literal) => {
        concat!(
            "let acts = collect(load(), [\" John gave Mary\", \" Mary gave John\", \"Wei left.\", \" 21% of it\", \
             \"The Louvre is in Paris\", \"Oslo lies in Europe\"], resid_post(4)); \
             let mixture = mfa(acts, #{components: 4, rank: 2, epochs: 4, batch: 8, lr: 0.01, init: \"random\", seed: 0}); ",
            $rest
        )
    };
}

pub(super) use mixture;
