//! Each step of masking on one thread, beside `memcpy` of the model: what memory could do at best.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use pet_mask::model::{Model, Scalar};
use pet_mask::{
    derive_mask, mask_model, Aggregation, MaskConfig, MaskConfigPair, MaskObjectView, MaskSeed,
    Masker, Unmasker,
};

const LENGTH: usize = 100_000;
const CONFIGS: [&str; 4] =
    ["Prime/F32/B0/M3", "Word32/F32/B0/M3", "Prime/F64/B0/M3", "Prime/F32/Bmax/M3"];

fn model(config: MaskConfigPair) -> Model {
    let weights = (0..LENGTH).map(|i| (i % 2001) as f64 / 1000.0 - 1.0);
    match config.vect.data_type() {
        pet_mask::DataType::F64 => Model::F64(weights.collect()),
        _ => Model::F32(weights.map(|weight| weight as f32).collect()),
    }
}

fn masking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    group.throughput(Throughput::Elements(LENGTH as u64));
    let weights = vec![0.5f32; LENGTH];
    group.bench_function("memcpy of f32", |bencher| bencher.iter(|| black_box(&weights).clone()));
    group.finish();

    for name in CONFIGS {
        let config: MaskConfigPair =
            name.parse::<MaskConfig>().expect("the name of a config").into();
        let (seed, scalar) = (MaskSeed::new([7; 32]), Scalar::one());
        let model = Arc::new(model(config));
        let (masked, _) = mask_model(&seed, config, &scalar, &model).expect("a model that fits");
        let mut sum = Aggregation::new(config, LENGTH);
        let view = MaskObjectView::parse_exact(&masked).expect("a mask object");
        sum.aggregate(&view).expect("a mask object that fits");
        let mask = derive_mask(&seed, config, LENGTH).to_bytes().expect("a short mask");
        let (sum, mask) = (Arc::new(sum), Bytes::from(mask));

        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(LENGTH as u64));
        group.bench_function("derive a mask", |bencher| {
            bencher.iter(|| derive_mask(&seed, config, LENGTH))
        });
        group.bench_function("mask a model", |bencher| {
            bencher.iter(|| Masker::new(&seed, config, &scalar, model.clone()).map(Masker::finish))
        });
        group.bench_function("add a masked model", |bencher| {
            let mut sum = Aggregation::new(config, LENGTH);
            bencher.iter(|| sum.add_range(&view, 0..LENGTH))
        });
        group.bench_function("unmask the model", |bencher| {
            bencher.iter(|| Unmasker::model_only(sum.clone(), mask.clone()).map(Unmasker::finish))
        });
        group.finish();
    }
}

criterion_group!(benches, masking);
criterion_main!(benches);
