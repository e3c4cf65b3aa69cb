//! What the text and the document of a search both say of a goal.

use crate::bench::contestant::Contestant;
use crate::bench::search::goal::Procedure;
use crate::bench::search::repeats::Agreement;
use crate::bench::search::result::{GoalResult, Irregularity};
use crate::load::sizes::Sizes;
use crate::units::percent;

/// Agreement between the repetitions of one search.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// The path.
    pub path: Contestant,
    /// The frames.
    pub sizes: Sizes,
    /// The goal's name.
    pub goal: String,
    /// How far.
    pub agreement: Agreement,
}

/// What the rate is called that a goal finds: several goals with loss are told apart.
pub fn goal_name(goal: &GoalResult) -> String {
    match (goal.goal.procedure, goal.goal.loss_ratio) {
        (Procedure::Rfc2544, _) => goal.name().into(),
        (_, 0.0) => "NDR".into(),
        (_, ratio) => format!("PDR {}", percent(ratio)),
    }
}

/// Why a result is not a regular one; the highest load was set by what the generator can send.
pub(super) fn notes(goal: &GoalResult) -> Vec<String> {
    let note = |why: &Irregularity| match why {
        Irregularity::MaxLoadPasses => Irregularity::GeneratorIsTheLimit.to_string(),
        other => other.to_string(),
    };
    goal.irregular.iter().map(note).collect()
}
