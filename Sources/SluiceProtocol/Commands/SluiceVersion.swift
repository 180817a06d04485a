/// The version of Sluice, for `HELLO`, `INFO` and `--version`.
package enum SluiceVersion {
    package static let current = "0.1.0"
}
