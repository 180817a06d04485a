import ArgumentParser
@testable import sluice_load
import Testing

/// The cells that there are, and how they are chosen.
@Suite struct BenchTableTests {
    @Test func everyCellHasANameOfItsOwn() {
        let names = BenchTable.all.map(\.name)
        #expect(Set(names).count == names.count)
        #expect(names.allSatisfy { $0.allSatisfy { $0.isLowercase || $0.isNumber || $0 == "-" } })
    }

    @Test func measuresCompareContendersOfTheirCell() {
        for cell in BenchTable.all {
            let names = cell.contenders.map(\.name)
            #expect(Set(names).count == names.count)
            for measure in cell.measures {
                let used =
                    switch measure.relation {
                    case .ratio(let of, let to): [of, to]
                    case .growth(let from, let to, let otherFrom, let otherTo): [from, to, otherFrom, otherTo]
                    case .value(let of): [of]
                    }
                #expect(used.allSatisfy(names.contains), "\(cell.name): \(measure.name)")
            }
            if let rate = cell.rate { #expect(names.contains(rate.peakOf)) }
            if cell.stage.redis == .none {
                #expect(cell.contenders.allSatisfy { $0.target == .sluice || $0.target == .pingSluice })
            }
            for load in cell.contenders.map(\.load) {
                #expect(load.connections >= cell.stage.sidecars && load.grants <= LoadBounds.maxSubjects)
                #expect(load.connections * load.pipeline < 65_536, "more than a sidecar lets wait")
            }
            #expect([1, 3].contains(cell.stage.limits), "the script for Redis itself knows one and three limits")
        }
    }

    @Test func theOptionsChooseCells() throws {
        #expect(try BenchCommand.parse([]).cells() == BenchTable.standard)
        #expect(try BenchCommand.parse(["--full"]).cells().count == BenchTable.all.count)
        let name = "c64-p16-zipf-l3-denied-tcp-s2"
        let chosen = try BenchCommand.parse(["--only", name, "--only", "lone"]).cells()
        #expect(chosen.map(\.name) == [name, "lone"])
        #expect(
            chosen[0].about
                == "64 connections, pipeline 16, 100,000 grants by Zipf's law, 3 limits, mostly denied, 2 sidecars, Redis by TCP"
        )
        #expect(throws: (any Error).self) { try BenchCommand.parse(["--only", "nothing"]).cells() }
        let plan = try BenchCommand.parse(["--rounds", "7", "--duration", "100ms"]).plan()
        #expect(plan.rounds == 7 && plan.durationNs == 100_000_000 && plan.warmUpNs == 100_000_000)
        #expect(throws: (any Error).self) { try BenchCommand.parse(["--rounds", "0"]).plan() }
        #expect(throws: (any Error).self) { try BenchCommand.parse(["--duration", "0"]).plan() }
    }

    @Test func wrongUsageIsReported() async {
        #expect(await LoadProgram.run(arguments: ["bench", "--only", "nothing"]) == LoadProgram.ExitCode.usage)
        #expect(await LoadProgram.run(arguments: ["bench", "--list"]) == LoadProgram.ExitCode.ok)
    }
}
