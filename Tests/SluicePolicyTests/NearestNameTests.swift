import SluicePolicy
import Testing

@Suite struct NearestNameTests {
    @Test(
        arguments: [
            ("limts", "limits"), ("limit", "limits"), ("LIMITS", "limits"), ("limitss", "limits"), ("lmiits", "limits"),
            ("ratelimit", "rate_limit"), ("rateLimit", "rate_limit"), ("mx", "max"), ("min", "minute"),
            ("sec", "second"),
            ("hid", "hide"),
            ("", nil), ("q", nil), ("limits", nil), ("completely", nil), ("ma\u{0}", "max"), ("mi", nil),
            (String(repeating: "l", count: 1_000_000), nil),
        ] as [(String, String?)])
    func nearest(found: String, nearest: String?) {
        let known = ["limits", "rate_limit", "max", "minute", "second", "hide"]
        #expect(NearestName.find(found, among: known) == nearest)
    }

    @Test func ofEqualsTheFirst() {
        #expect(NearestName.find("dat", among: ["day", "dab"]) == "day")
        #expect(NearestName.find("dat", among: ["dab", "day"]) == "dab")
        #expect(NearestName.find("dat", among: []) == nil)
    }
}
