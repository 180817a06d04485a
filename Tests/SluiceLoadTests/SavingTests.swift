import Foundation
import Support
import Testing

@testable import sluice_load

/// Where a report or a trace goes.
@Suite struct SavingTests {
    @Test func aFileIsReplacedWhole() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/report.html"
        try LoadProgram.save("first, and longer", to: path)
        try LoadProgram.save("second", to: path)
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "second")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["report.html"])
    }

    @Test func aLinkStaysALink() throws {
        let folder = try TemporaryFolder()
        let (path, link) = (folder.path + "/there", folder.path + "/link")
        try LoadProgram.save("old", to: path)
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        try LoadProgram.save("new", to: link)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == path)
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "new")
    }

    @Test func whatCannotBeWrittenIsReported() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/no/such/folder"
        let error = #expect(throws: LocalClusterFailure.self) { try LoadProgram.save("text", to: path) }
        #expect(error?.description.hasPrefix("cannot write \(path): ") == true)
    }
}
