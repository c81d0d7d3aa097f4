//! Corrections: analyses that rules answered in part have their texts classified again.

use switchyard_contract::Kind;
use switchyard_jobs::{handler::ChildResult, model::JobError};

use super::{child_outputs::ChildOutputs, state::AnalysisState};
use crate::children::ImageRecord;

/// The state from which a correction starts; `None` if the model answered every post.
///
/// # Errors
/// As [`ChildOutputs::collect`].
pub fn correction_state(state: &AnalysisState, children: &[ChildResult]) -> Result<Option<AnalysisState>, JobError> {
    let is_fallback = |child: &ChildResult| {
        child.kind == Kind::Ai && child.result.as_ref().is_ok_and(|output| output["model"]["fallback"] == true)
    };
    // Checked before the outputs are parsed: they are large, and corrections are rare.
    if !children.iter().any(is_fallback) {
        return Ok(None);
    }
    let outputs = ChildOutputs::collect(state, children)?;
    let mut images: Vec<ImageRecord> = outputs.images.into_values().collect();
    images.sort_by(|a, b| a.url().cmp(b.url()));
    Ok(Some(AnalysisState { fetched: state.fetched.clone(), images, discovered: outputs.discovered }))
}
