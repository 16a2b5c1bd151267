//! What a participant tells its user, as JSON.

use pet_core::crypto::Task;
use pet_core::mask::DataType;
use pet_core::participant::Event;
use serde_json::{json, Value};

use crate::exchange::Blob;

/// The name of a type of weights.
pub(crate) fn data_type(data_type: DataType) -> &'static str {
    match data_type {
        DataType::F32 => "f32",
        DataType::F64 => "f64",
        DataType::I32 => "i32",
        DataType::I64 => "i64",
    }
}

/// The name of a task.
pub(crate) fn task(task: Task) -> &'static str {
    match task {
        Task::Sum => "sum",
        Task::Update => "update",
        _ => "none",
    }
}

/// An event, and the weights of a model that belongs to it.
pub(crate) fn describe(event: &Event) -> (Value, Blob) {
    let value = match event {
        Event::NewRound { task: own, parameters } => {
            let data_type = data_type(parameters.mask_config.vect.data_type());
            json!({
                "type": "round",
                "tag": parameters.tag().to_string(),
                "task": task(*own),
                "dataType": data_type,
                "length": parameters.model_length,
                "maskConfig": parameters.mask_config.vect.to_string(),
                "text": format!("a new round; task: {own}"),
            })
        }
        Event::ModelNeeded { data_type: wanted, length } => json!({
            "type": "modelneeded",
            "dataType": data_type(*wanted),
            "length": length,
            "text": format!("waiting for a local model of {length} {wanted} weights"),
        }),
        Event::ModelRejected(mismatch) => json!({
            "type": "modelrejected",
            "text": mismatch.to_string(),
        }),
        Event::ModelOutdated => json!({
            "type": "modeloutdated",
            "text": "the local model was for the round before: dropped",
        }),
        Event::ModelMasked(report) => json!({
            "type": "masked",
            "clamped": report.clamped,
            "text": match report.clamped {
                0 => "the local model is masked".to_owned(),
                clamped => format!(
                    "the local model is masked; {clamped} of its weights, times the scalar, were beyond the bound of \
                     this coordinator's models and were put on it: the largest was {}",
                    report.largest_clamped
                ),
            },
        }),
        Event::Progress { tag, sent, total } => json!({
            "type": "progress",
            "message": tag.name(),
            "sent": sent,
            "total": total,
            "text": format!("{sent} of {total} parts of the {} message are sent", tag.name()),
        }),
        Event::Sent(tag) => json!({
            "type": "sent",
            "message": tag.name(),
            "text": format!("the {} message is sent", tag.name()),
        }),
        Event::Rejected { tag, problem } => json!({
            "type": "rejected",
            "message": tag.name(),
            "problem": problem.name,
            "text": format!("the coordinator has rejected the {} message: {problem}", tag.name()),
        }),
        Event::GaveUp(error) => json!({ "type": "gaveup", "text": error.to_string() }),
        Event::Trouble(trouble) => json!({
            "type": "trouble",
            "call": trouble.call,
            "text": trouble.to_string(),
        }),
        Event::GlobalModel(Some(model)) => {
            let value = json!({
                "type": "globalmodel",
                "dataType": data_type(model.data_type()),
                "length": model.len(),
                "text": format!("the global model: {} {} weights", model.len(), model.data_type()),
            });
            return (value, Blob::Model(model.clone()));
        }
        Event::GlobalModel(None) => json!({
            "type": "globalmodel",
            "dataType": null,
            "length": 0,
            "text": "there is no global model yet",
        }),
        Event::GlobalModelFailed(error) => json!({
            "type": "globalmodelfailed",
            "text": error.to_string(),
        }),
        // An event of a newer core, or of version 2.
        other => json!({ "type": "other", "text": format!("{other:?}") }),
    };
    (value, Blob::None)
}
