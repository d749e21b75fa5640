//! `--set` of the simulator: the placers' settings, read and checked as those of a configuration.

use crate::cli::arguments::unusable;
use crate::config::{Config, Flag, Role, Sources};
use crate::placement::PlacerSettings;

/// Before the keys in a configuration; may be left out here.
const SECTION: &str = "placement.";

/// The tables of [`PlacerSettings`].
const TABLES: [&str; 4] = ["delay_pull", "prequal", "ring_bounded", "p2c"];

/// The defaults with `KEY=VALUE` put into them, keys and values as in the configuration's `[placement]`. A later one wins.
///
/// # Errors
/// Everything that is wrong with them: key, value, what was expected.
pub(super) fn read(assignments: &[String]) -> anyhow::Result<PlacerSettings> {
    for assignment in assignments {
        let key = assignment.split('=').next().unwrap_or_default().trim();
        let table = key.strip_prefix(SECTION).unwrap_or(key).split('.').next().unwrap_or_default();
        anyhow::ensure!(
            TABLES.contains(&table),
            "flag --set: {key}: not a placer's setting: expected TABLE.KEY=VALUE, where TABLE is one of {}",
            TABLES.join(", ")
        );
    }
    let flag = |text: &String| match text.trim_start().strip_prefix(SECTION) {
        Some(_) => Flag::assignment(text),
        None => Flag::assignment(&format!("{SECTION}{}", text.trim_start())),
    };
    let sources = Sources { role: Role::Any, flags: assignments.iter().map(flag).collect(), ..Sources::default() };
    let loaded = Config::load(&sources).map_err(|errors| unusable("the placers' settings", &errors))?;
    Ok(loaded.config.placement.loop_rules().placers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read_all(assignments: &[&str]) -> anyhow::Result<PlacerSettings> {
        read(&assignments.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn settings_are_set_with_and_without_their_section() {
        let set = read_all(&["delay_pull.fair_backlog=20ms", "placement.prequal.probes=4"]).unwrap();
        assert_eq!((set.delay_pull.fair_backlog, set.prequal.probes), (Duration::from_millis(20), 4.0));
        assert_eq!(read_all(&[]).unwrap(), PlacerSettings::default());
    }

    #[test]
    fn every_table_of_the_settings_can_be_set() {
        let settings = serde_json::to_value(PlacerSettings::default()).unwrap();
        let tables: Vec<&String> = settings.as_object().unwrap().keys().collect();
        assert_eq!(tables.len(), TABLES.len());
        assert!(tables.iter().all(|table| TABLES.contains(&table.as_str())), "{tables:?}");
    }

    #[test]
    fn what_is_wrong_is_told_as_of_a_configuration() {
        let told = |text: &str| read_all(&[text]).unwrap_err().to_string();
        let of_flag = |text: &str| told(text).replace("the placers' settings cannot be used:\n  flag --set: placement.", "");
        assert_eq!(
            of_flag("delay_pull.fair_baclog=20ms"),
            "delay_pull.fair_baclog = \"20ms\": unknown key; did you mean `placement.delay_pull.fair_backlog`?"
        );
        assert_eq!(
            of_flag("delay_pull.fair_backlog=soon"),
            "delay_pull.fair_backlog = \"soon\": expected whole numbers with a unit, such as \"10ms\", \"30s\", \"5m\" or \"1h30m\""
        );
        assert_eq!(of_flag("ring_bounded.bound=0"), "ring_bounded.bound = \"0\": expected more than 0 and at most 1");
        assert_eq!(of_flag("delay_pull.fair_backlog"), "delay_pull.fair_backlog: expected KEY=VALUE");
        assert_eq!(
            told("max_waiting=3"),
            "flag --set: max_waiting: not a placer's setting: expected TABLE.KEY=VALUE, where TABLE is one of delay_pull, prequal, \
             ring_bounded, p2c"
        );
    }
}
