import Foundation
import Support
import Testing

extension Integration {
    /// The proxies of deploy/forward-auth with the configurations that are there: only addresses are others.
    @Suite struct ProxyTests {
        /// A proxy in front of a sidecar, and what it protects.
        private struct Stage {
            let sidecar: SidecarProcess
            let folder: TemporaryFolder
            let backend: StubBackend
            let port: Int
            let proxy: ChildProcess

            var client: HTTPClient { HTTPClient(.port(port)) }
        }

        private func stage(
            _ name: String, _ files: [String], words: (TemporaryFolder) -> [String]
        ) async throws -> Stage? {
            guard let program = Tool.find(name) else {
                print("not run, since there is no \(name): deploy/forward-auth/\(files[0])")
                return nil
            }
            let sidecar = try await SidecarProcess(
                policy: HTTPTests.policy, replicas: 1, arguments: ["--http-listen", "127.0.0.1:0"])
            let folder = try TemporaryFolder()
            let backend = try await StubBackend()
            let port = try LoopbackPort.free(1)[0]
            for file in files {
                let text = try String(
                    contentsOfFile: "\(ShellSession.repository)/deploy/forward-auth/\(file)", encoding: .utf8)
                try folder.write(
                    text.replacing("127.0.0.1:9464", with: "127.0.0.1:\(try sidecar.httpPort())")
                        .replacing(":8080", with: ":\(port)")
                        .replacing("127.0.0.1:9000", with: "127.0.0.1:\(backend.port)")
                        .replacing("deploy/forward-auth/", with: folder.path("")), to: file)
            }
            let proxy = try ChildProcess(program, words(folder), environment: ["HOME": folder.path("")])
            let stage = Stage(sidecar: sidecar, folder: folder, backend: backend, port: port, proxy: proxy)
            try await waitUntil("\(name) passes requests on\n\(proxy.output)\(proxy.errors)", timeout: .seconds(30)) {
                guard proxy.isRunning else { throw SupportError("\(name) ended: \(proxy.output)\(proxy.errors)") }
                // Neither a path of the tools nor one of the routes: nothing is charged.
                return (try? stage.client.ask("GET", "/")) != nil
            }
            return stage
        }

        /// Three calls pass, whatever the client sends beside its key; the fourth does not.
        private func tryLimit(_ stage: Stage, authorization: String) throws -> HTTPClient.Reply {
            let headers = ["authorization": authorization, "x-grant": "another", "x-tool": "free", "x-cost": "0"]
            for call in 1...3 {
                let reply = try stage.client.ask("GET", "/tools/opencode_run", headers)
                #expect(reply.status == 200, "call \(call): \(reply)")
                #expect(reply.body == StubBackend.answer)
            }
            #expect(stage.backend.count == 3)
            let denied = try stage.client.ask("GET", "/tools/opencode_run", headers)
            #expect(stage.backend.count == 3)
            #expect(try stage.sidecar.client().peek("alice-laptop", "opencode_run").verdict == "limit")
            return denied
        }

        @Test func nginxAsksFirst() async throws {
            // One process: it is ended by its id, and a worker of its own would go on.
            let found = try await stage("nginx", ["nginx.conf"]) {
                ["-p", $0.path(""), "-c", $0.path("nginx.conf"), "-g", "master_process off;"]
            }
            guard let stage = found else { return }
            let denied = try tryLimit(stage, authorization: "Bearer key-of-alice")
            #expect(denied.status == 429)
            #expect(Int(denied.headers["retry-after"] ?? "") ?? 0 > 0)
            #expect(try stage.client.ask("GET", "/tools/opencode_run").status == 403)
            let key = ["authorization": "Bearer key-of-alice"]
            #expect(try stage.client.ask("GET", "/tools/unlisted", key).status == 403)
            #expect(try stage.client.ask("GET", "/tools/free", key).status == 200)
            // Without the limiter nothing passes.
            try await stage.sidecar.process.end()
            #expect(try stage.client.ask("GET", "/tools/free", key).status == 503)
            #expect(stage.backend.count == 4)
        }

        @Test func caddyAsksFirst() async throws {
            let found = try await stage("caddy", ["Caddyfile"]) { ["run", "--config", $0.path("Caddyfile")] }
            guard let stage = found else { return }
            let denied = try tryLimit(stage, authorization: "Bearer key-of-alice")
            #expect(denied.status == 429)
            #expect(Int(denied.headers["retry-after"] ?? "") ?? 0 > 0)
            #expect(denied.body.contains("is limited to 3 calls per day"))
            #expect(try stage.client.ask("GET", "/tools/opencode_run").status == 403)
            try await stage.sidecar.process.end()
            let key = ["authorization": "Bearer key-of-alice"]
            #expect(try stage.client.ask("GET", "/tools/free", key).status / 100 == 5)
            #expect(stage.backend.count == 3)
        }

        @Test func traefikAsksFirst() async throws {
            let found = try await stage("traefik", ["traefik.yml", "traefik-routes.yml"]) {
                ["--configFile=\($0.path("traefik.yml"))"]
            }
            guard let stage = found else { return }
            let password = "Basic " + Data("alice-laptop:secret".utf8).base64EncodedString()
            try await waitUntil("traefik has its routes", timeout: .seconds(30)) {
                try stage.client.ask("GET", "/tools/opencode_run").status == 401
            }
            let denied = try tryLimit(stage, authorization: password)
            #expect(denied.status == 429)
            #expect(Int(denied.headers["retry-after"] ?? "") ?? 0 > 0)
            #expect(denied.body.contains("is limited to 3 calls per day"))
            try await stage.sidecar.process.end()
            let headers = ["authorization": password]
            #expect(try stage.client.ask("GET", "/tools/opencode_run", headers).status / 100 == 5)
            #expect(stage.backend.count == 3)
        }
    }
}
