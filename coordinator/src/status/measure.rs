//! How large global models are and how far they move, on a blocking thread.

use std::sync::Arc;

use pet_core::{coordinator::GlobalModel, model::Model};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::observer::Shared;

/// So many models may wait to be measured; more are left out, so that they take no memory.
pub(super) const WAITING: usize = 2;

/// What is measured of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measure {
    pub norm: f64,
    /// `None` where there is nothing to compare with.
    pub change: Option<f64>,
}

/// Measures the models that come in, one after the other, until nobody sends any more.
pub(super) async fn measure(mut models: mpsc::Receiver<GlobalModel>, shared: Arc<Shared>) {
    // The bulletin holds the latest model too: keeping it costs nothing.
    let mut latest: Option<Arc<Model>> = None;
    while let Some(model) = models.recv().await {
        let (round, weights) = (model.round_id, model.weights.clone());
        drop(model);
        let before = std::mem::replace(&mut latest, weights.clone());
        let Some(weights) = weights else { continue };
        let measured = spawn_blocking(move || measure_one(&weights, before.as_deref()));
        // Only a panic or the end of the runtime takes it away: then there is nothing to show.
        if let Ok(measured) = measured.await {
            shared.measured(round, measured);
        }
    }
}

fn measure_one(model: &Model, before: Option<&Model>) -> Measure {
    fn norm<T: Copy>(weights: &[T], float: impl Fn(T) -> f64) -> f64 {
        weights.iter().map(|&weight| float(weight).powi(2)).sum::<f64>().sqrt()
    }
    fn distance<T: Copy>(a: &[T], b: &[T], float: impl Fn(T) -> f64) -> Option<f64> {
        let squares = a.iter().zip(b).map(|(&a, &b)| (float(a) - float(b)).powi(2));
        (a.len() == b.len()).then(|| squares.sum::<f64>().sqrt())
    }
    macro_rules! each_type {
        ($($variant:ident $float:expr),*) => {
            match model {
                $(Model::$variant(weights) => Measure {
                    norm: norm(weights, $float),
                    change: match before {
                        Some(Model::$variant(before)) => distance(weights, before, $float),
                        _ => None,
                    },
                },)*
            }
        };
    }
    each_type!(F32 f64::from, F64 |x| x, I32 f64::from, I64 |x| x as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_and_change_are_euclidean() {
        let (a, b) = (Model::F32(vec![3.0, -4.0]), Model::F32(vec![3.0, 8.0]));
        assert_eq!(measure_one(&a, None), Measure { norm: 5.0, change: None });
        assert_eq!(measure_one(&a, Some(&b)), Measure { norm: 5.0, change: Some(12.0) });
        let (a, b) = (Model::I64(vec![i64::MAX]), Model::I64(vec![i64::MIN]));
        let measure = measure_one(&a, Some(&b));
        assert_eq!(measure.change, Some(2f64.powi(64)));
    }

    /// The settings may have been changed between two rounds.
    #[test]
    fn models_of_another_form_are_not_compared() {
        let model = Model::F32(vec![1.0]);
        for other in [Model::F64(vec![1.0]), Model::F32(vec![1.0, 2.0])] {
            assert_eq!(measure_one(&model, Some(&other)).change, None);
        }
    }
}
