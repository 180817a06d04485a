/// The version of Sluice, as `HELLO`, `INFO` and `--version` tell it.
package enum SluiceVersion {
    package static let current = "0.1.0"
}
