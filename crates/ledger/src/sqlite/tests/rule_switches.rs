//! Each rule of the ledger's own that guards the promise is missed by a test when it is switched off.

use commentd_delivery::rule_switch::{self, RuleSwitch};

const SWITCHED_OFF: &str = "COMMENTD_TEST_LEDGER_RULE";
/// Each with a test that must fail without it.
const RULES: [(RuleSwitch, &str); 3] = [
    (RuleSwitch::LostLogsAreMissed, "sqlite::tests::lost::a_log_that_is_gone_after_a_crash_is_missed"),
    (RuleSwitch::MovedLedgersRecordNothing, "sqlite::tests::place::a_deleted_ledger_records_nothing"),
    (RuleSwitch::OnlyRunningTimeCounts, "sqlite::tests::it_conforms"),
];

/// Switches off what the test below asks for; the switches are the process's.
pub(super) fn switch_off() {
    if let Ok(name) = std::env::var(SWITCHED_OFF) {
        let (rule, _) = RULES.iter().find(|(rule, _)| rule.as_str() == name).expect("one of these");
        rule_switch::switch_off(*rule);
    }
}

#[cfg(unix)]
#[test]
fn every_rule_that_is_switched_off_is_missed() {
    for (rule, test) in RULES {
        let run = |off: bool| {
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", test]);
            if off {
                command.env(SWITCHED_OFF, rule.as_str());
            }
            let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
            assert!(said.contains("running 1 test"), "there is no test {test}");
            said.contains("1 passed")
        };
        assert!(run(false), "{test} fails with every rule on");
        assert!(!run(true), "nobody misses {rule:?}");
    }
}
