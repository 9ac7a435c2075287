//! What training a mixture holds. One test, so that nothing else in the process takes memory meanwhile.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use patchscript::analysis::mfa::train::Init;
use patchscript::analysis::mfa::{Sizes, TrainOptions, train};
use patchscript::data::random::Generator;
use patchscript::data::rows::Matrix;

/// What the allocator and matrix products keep for themselves.
const OVERHEAD: usize = 24 << 20;

#[test]
fn a_training_holds_its_parameters_three_times_and_what_a_batch_needs() {
    let (components, width, rank, batch) = (1500, 512, 8, 64);
    let mut rng = Generator::new(0);
    let rows: Vec<f32> = (0..2000 * width).map(|_| rng.standard_normal() as f32).collect();
    let rows = Matrix::new(rows, width);
    let options = TrainOptions {
        components,
        rank,
        init: Init::Rows,
        epochs: 2,
        batch,
        steps_per_epoch: Some(3),
        ..TrainOptions::default()
    };
    for psi_per_component in [false, true] {
        let options = TrainOptions { psi_per_component, ..options.clone() };
        let sizes = Sizes { components, width, rank, psi_per_component };
        let parameters = 4 * (components * (sizes.block() + rank + 1) + sizes.noise());
        // Of every row of a batch and component the products with its mean and directions, and its share; the small
        // matrices of every component, some as float64 while they are made; means alone.
        let of_batch = 4 * batch * components * (rank + 4);
        let of_components = 4 * components * (6 * rank * rank + 2 * width);
        let before = status("VmRSS:");
        let held = peak(|| {
            let mfa = train(&rows, None, &options, None, &mut ()).unwrap();
            // The mixture itself, which is made of the parameters once the averages are gone.
            assert_eq!(mfa.components(), components);
        });
        let held = held.saturating_sub(before);
        let allowed = 3 * parameters + of_batch + of_components + OVERHEAD;
        println!("{held} bytes of {allowed}, parameters of {parameters}");
        assert!(held <= allowed, "{held} bytes held, {allowed} allowed");
    }
}
