/// `Scripts/charge.lua`, embedded in the program.
enum ChargeScript {
    static let source: [UInt8] = PackageResources.charge_lua
}
