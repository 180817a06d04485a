/// The style of a page that a command writes. The names of sources and series are classes, with one colour each for light and
/// for dark.
enum PageStyle {
    static let css = """
        :root { --page: #f7f7f5; --card: #fff; --ink: #1b1c1e; --faint: #5d6066; --line: #e3e3df; --good: #0b7a4b;
          --bad: #c22f2b; --shared: #2a6fd1; --local: #e07b00; --lease: #139a74; --cache: #8a5bd0; --policy: #8b8f96;
          --p50: #139a74; --p99: #2a6fd1; --max: #8a5bd0; --limit: #1b1c1e; }
        @media (prefers-color-scheme: dark) { :root { --page: #141517; --card: #1d1f22; --ink: #ecedee; --faint: #a2a6ad;
          --line: #33363b; --good: #43c48b; --bad: #ff7a70; --shared: #6ba4f8; --local: #ffa640; --lease: #47cfa5;
          --cache: #b693f2; --policy: #8f949c; --p50: #47cfa5; --p99: #6ba4f8; --max: #b693f2; --limit: #ecedee; } }
        * { box-sizing: border-box; }
        body { margin: 0 auto; padding: 24px; max-width: 1280px; background: var(--page); color: var(--ink);
          font: 15px/1.5 system-ui, sans-serif; }
        h1 { margin: 0; font-size: 26px; line-height: 1.25; } h2 { margin: 0 0 8px; font-size: 16px; }
        .kept h1 { color: var(--good); } .broken h1 { color: var(--bad); }
        .doubtful h1 { color: var(--local); }
        header p, footer { color: var(--faint); margin: 4px 0 0; } footer { margin-top: 24px; font-size: 13px; }
        .verdict { max-width: 80ch; overflow-wrap: anywhere; }
        section { margin-top: 20px; }
        .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)); gap: 8px; }
        .tiles div, figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
        .tiles div { padding: 10px 12px; } .tiles b { display: block; font-size: 18px; font-variant-numeric: tabular-nums;
          white-space: nowrap; }
        .tiles span, small { color: var(--faint); font-size: 13px; }
        .plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 16px; }
        figure { margin: 0; padding: 14px; min-width: 0; }
        figcaption { font-weight: 600; margin-bottom: 8px; overflow-wrap: anywhere; }
        svg { display: block; width: 100%; height: auto; } svg text { fill: var(--faint); font: 12px system-ui, sans-serif; }
        @media (max-width: 640px) { body { padding: 14px; } svg text { font-size: 16px; } }
        svg .title { font-style: italic; }
        .halo { paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
        .grid { stroke: var(--line); stroke-width: 1; }
        .line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; } .dot { fill: var(--c); }
        .area { fill: var(--c); } .level { stroke: var(--c); stroke-width: 1.5; stroke-dasharray: 5 3; }
        .line.meant, .line.late, .line.since { stroke-dasharray: 5 4; stroke-width: 1.5; }
        .shared { --c: var(--shared); } .local { --c: var(--local); } .lease { --c: var(--lease); }
        .cache { --c: var(--cache); } .policy { --c: var(--policy); } .errors { --c: var(--bad); }
        .p50 { --c: var(--p50); } .p99 { --c: var(--p99); } .max { --c: var(--max); } .limit { --c: var(--limit); }
        .meant { --c: var(--ink); } .late { --c: var(--local); } .since { --c: var(--p50); } .fullest { --c: var(--cache); }
        .mark line { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 2 2; } .mark circle { fill: var(--bad); }
        svg .mark text { fill: var(--card); font-weight: 700; font-size: 11px; }
        .keys { display: flex; flex-wrap: wrap; gap: 4px 16px; margin-top: 8px; font-size: 13px; color: var(--faint); }
        .key i { display: inline-block; width: 12px; height: 12px; margin-right: 6px; border-radius: 3px;
          background: var(--c); vertical-align: -1px; }
        .key.fullest i { border-radius: 50%; width: 10px; height: 10px; }
        .key.limit i { height: 0; border-top: 2px dashed var(--c); border-radius: 0; background: none; vertical-align: 4px; }
        .key.meant i, .key.late i, .key.since i { height: 0; border-top: 2px dashed var(--c); border-radius: 0; background: none;
          vertical-align: 4px; }
        .event { white-space: nowrap; } .event b { display: inline-block; min-width: 16px; margin-right: 5px; border-radius: 8px;
          background: var(--bad); color: var(--card); font-size: 11px; line-height: 16px; text-align: center; }
        .faults { columns: 3 220px; margin: 0; padding-left: 28px; } .faults li::marker { color: var(--bad); font-weight: 700; }
        .scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
        th, td { padding: 4px 24px 4px 0; text-align: right; border-bottom: 1px solid var(--line); }
        th { color: var(--faint); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
        li { overflow-wrap: anywhere; }
        """
}
