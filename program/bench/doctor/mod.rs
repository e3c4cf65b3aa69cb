//! Whether a machine is fit for measuring: facts that were read or tried, and what follows from them, a line
//! for each subject. All of that is arithmetic over [`facts::Facts`].

pub mod facts;
pub mod finding;
mod interface;
mod kernel;
pub mod look;
mod machine;

#[cfg(test)]
mod tests;

use facts::Facts;
use finding::{Finding, Severity};

/// All findings, section by section.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all = machine::of_machine(facts);
    all.extend(machine::of_rights(facts));
    all.extend(machine::of_cpus(facts));
    all.extend(
        facts.interface.iter().flat_map(|interface| interface::of_interface(facts, interface)),
    );
    all
}

/// Why numbers taken here would not be worth having; empty on a machine that is fit for measuring.
pub fn reasons(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.severity == Severity::Spoils).collect()
}
