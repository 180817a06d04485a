import Foundation
import Support
import Testing

@testable import SluiceServer

@Suite struct PolicySourceTests {
    /// One that has just changed may change again without its times telling; one that has not for long is trusted.
    @Test func onlyAFileThatChangedJustNowIsFresh() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("{}", to: "policy.json")
        for source in [PolicySource.file(path), .folder(folder.path)] {
            let first = source.fingerprint()
            #expect(first.isFresh && first.files.count == 1)
            #expect(source.fingerprint().files == first.files)
        }
        // It has been there since the system was installed.
        #expect(!PolicySource.file("/bin/sh").fingerprint().isFresh)
    }

    @Test func whatIsNotThereIsSeenWhenItComes() throws {
        let folder = try TemporaryFolder()
        let source = PolicySource.file(folder.path("policy.json"))
        let none = source.fingerprint()
        #expect(!none.isFresh)
        _ = try folder.write("{}", to: "policy.json")
        #expect(source.fingerprint().files != none.files)
    }
}
