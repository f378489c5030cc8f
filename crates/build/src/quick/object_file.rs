//! rustc's objects by their names.

/// The name of an object's codegen unit. rustc gives each file a name of its own:
/// `CRATE.UNIT.CALL.rcgu.o`.
pub(super) fn unit_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split('.').nth(1).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_calls_name_a_unit_alike() {
        assert_eq!(unit_of("/d/app-1f.4a56.1ylrdby.rcgu.o"), "4a56");
        assert_eq!(unit_of("/d/app-1f.4a56.0abc.rcgu.o"), "4a56");
    }
}
