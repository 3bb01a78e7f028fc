//! What must not compile, and what the compiler says (`ui/*.stderr`; `TRYBUILD=overwrite` renews them).
#![allow(missing_docs)]

#[test]
fn rejected_programs_are_rejected_with_these_messages() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
