/// What must be the same before a restart and after it.
module LsmFs.Server.Tests.RestartTests

open System
open System.Diagnostics
open System.Threading
open Expecto

// A stop waits for one sync and for no client; the rest is for a machine that does other things too.
let private stopTimeMax = TimeSpan.FromSeconds 5.

/// `before` and `after` run on one folder, with a restart between them.
let private acrossRestart
    (flags: string list)
    (signal: Signal)
    (before: TextClient -> 'state)
    (after: 'state -> TextClient -> unit)
    =
    use folder = new TemporaryFolder()

    let state =
        use server = ServerProcess.Start(folder.Path, Array.ofList flags)
        use client = new TextClient(server.Port)
        let state = before client
        let struct (exitCode, elapsed) = server.Stop signal
        Expect.equal exitCode 0 $"the exit code after {signal}: {server.Errors}"
        Expect.isLessThan elapsed stopTimeMax $"the time to stop after {signal}"
        state

    use server = ServerProcess.Start(folder.Path, Array.ofList flags)
    use client = new TextClient(server.Port)
    after state client
    server.StopCleanly()

let private stored (client: TextClient) (head: string) (value: string) =
    Expect.equal (client.Store(head, value)) "STORED" head

/// Sees a key go; returns when it went.
let private waitUntilGone (client: TextClient) (key: string) : DateTime =
    let watch = Stopwatch.StartNew()

    while (client.TryGet key).IsSome && watch.Elapsed.TotalSeconds < 20. do
        Thread.Sleep 20

    DateTime.UtcNow

/// A delay that a restart falls into, and how much of it passes before: what counts it again from the restart is late by as much, and seen to be.
let private delaySeconds = 10

let private secondsBeforeRestart = 4.1

/// The server's clock counts whole seconds, so a delay may end up to a second early; late is what the machine makes late.
let private expectDelay (since: DateTime) (at: DateTime) (what: string) =
    Expect.isGreaterThan (at - since).TotalSeconds (float delaySeconds - 1.1) $"{what}: not too early"
    Expect.isLessThan (at - since).TotalSeconds (float delaySeconds + 1.5) $"{what}: not too late"

let private itemsSurvive (flags: string list) (signal: Signal) () =
    acrossRestart
        flags
        signal
        (fun client ->
            stored client "set plain 0 0" "value"
            stored client "set flagged 4294967295 0" "flags"
            stored client "set empty 1 0" ""
            stored client "set gone 0 0" "value"
            Expect.equal (client.Ask "delete gone") "DELETED" "delete"
            stored client "set number 0 0" "41"
            client.Send "incr number 1 noreply\r\n"
            let uniques = [ "plain"; "flagged"; "number" ] |> List.map (fun key -> client.TryGet key)
            // Of a command whose answer nobody waits for before the stop: it had arrived.
            client.Send "set last 0 0 4 noreply\r\nlast\r\nversion\r\n"
            client.ReadLine() |> ignore
            uniques)
        (fun uniques client ->
            let after = [ "plain"; "flagged"; "number" ] |> List.map (fun key -> client.TryGet key)
            Expect.equal after uniques "items with flags and cas uniques"
            Expect.equal (after[1] |> Option.map _.Flags) (Some 4294967295u) "the largest flags"
            Expect.equal (client.TryGetText "number") (Some "42") "a number"
            Expect.equal (client.TryGetText "empty") (Some "") "an empty value"
            Expect.equal (client.TryGet "gone") None "a deleted key"
            Expect.equal (client.TryGetText "last") (Some "last") "the last write"
            let unique = (Option.get after[0]).Cas
            stored client "set fresh 0 0" "x"
            let fresh = client.TryGet "fresh" |> Option.get

            Expect.isGreaterThan
                fresh.Cas
                (after |> List.choose id |> List.map _.Cas |> List.max)
                "a unique is never used twice"

            Expect.equal (client.Ask $"cas plain 0 0 3 {unique + 1_000_000UL}\r\nnew") "EXISTS" "cas of another unique"
            Expect.equal (client.Ask $"cas plain 0 0 3 {unique}\r\nnew") "STORED" "cas of the unique from before")

let private manyItemsSurviveMemory () =
    let count = 3000
    let valueOf (index: int) = String(char (int 'a' + index % 26), 2000 + index % 100)

    acrossRestart
        [ "-m"; "8"; "--durability"; "memory" ]
        Signal.Terminate
        (fun client ->
            for index in 1..count do
                client.Send $"set key-{index} 0 0 {(valueOf index).Length} noreply\r\n{valueOf index}\r\n"

            Expect.stringStarts (client.Ask "version") "VERSION" "the writes before it are done")
        (fun () client ->
            for index in 1..count do
                Expect.equal (client.TryGetText $"key-{index}") (Some(valueOf index)) $"key-{index}")

let private flushSurvives (durability: string) () =
    use folder = new TemporaryFolder()

    do
        use server = ServerProcess.Start(folder.Path, "--durability", durability)
        use client = new TextClient(server.Port)
        stored client "set old 0 0" "value"
        server.StopCleanly()

    do
        // Nothing but the flush is written in this run.
        use server = ServerProcess.Start(folder.Path, "--durability", durability)
        use client = new TextClient(server.Port)
        Expect.equal (client.TryGetText "old") (Some "value") "before flush_all"
        Expect.equal (client.Ask "flush_all") "OK" "flush_all"
        server.StopCleanly()

    use server = ServerProcess.Start(folder.Path, "--durability", durability)
    use client = new TextClient(server.Port)
    Expect.equal (client.TryGet "old") None "an item from before flush_all"
    stored client "set new 0 0" "value"
    Expect.equal (client.TryGetText "new") (Some "value") "an item from after flush_all"
    server.StopCleanly()

let private expirySurvives () =
    acrossRestart
        []
        Signal.Terminate
        (fun client ->
            let now = DateTime.UtcNow
            stored client $"set relative 0 {delaySeconds}" "value"
            stored client $"set absolute 0 {DateTimeOffset(now).ToUnixTimeSeconds() + int64 delaySeconds}" "value"
            stored client "set touched 0 0" "value"
            Expect.equal (client.Ask $"touch touched {delaySeconds}") "TOUCHED" "touch"
            stored client "set meanwhile 0 1" "value"
            stored client "set long 0 2000" "value"
            Thread.Sleep(TimeSpan.FromSeconds secondsBeforeRestart)
            now)
        (fun since client ->
            Expect.equal (client.TryGet "meanwhile") None "what expired while the server was away or before"

            for key in [ "relative"; "absolute"; "touched" ] do
                Expect.isSome (client.TryGet key) $"{key}, before its time"

            for key in [ "relative"; "absolute"; "touched" ] do
                expectDelay since (waitUntilGone client key) key

            Expect.isSome (client.TryGet "long") "what has more time")

let private delayedFlushSurvives (durability: string) () =
    acrossRestart
        [ "--durability"; durability ]
        Signal.Terminate
        (fun client ->
            stored client "set before 0 0" "value"
            let now = DateTime.UtcNow
            Expect.equal (client.Ask $"flush_all {delaySeconds}") "OK" "flush_all with a delay"
            stored client "set between 0 0" "value"
            Thread.Sleep(TimeSpan.FromSeconds secondsBeforeRestart)
            now)
        (fun since client ->
            Expect.isSome (client.TryGet "before") "an item, before the time has come"
            stored client "set restarted 0 0" "value"

            for key in [ "before"; "between"; "restarted" ] do
                expectDelay since (waitUntilGone client key) key

            stored client "set after 0 0" "value"
            Thread.Sleep 1100
            Expect.isSome (client.TryGet "after") "an item from after the time")

let private delayedFlushWhileAway () =
    use folder = new TemporaryFolder()

    do
        use server = ServerProcess.Start folder.Path
        use client = new TextClient(server.Port)
        stored client "set before 0 0" "value"
        Expect.equal (client.Ask "flush_all 2") "OK" "flush_all with a delay"
        server.Kill()

    Thread.Sleep 2100

    do
        use server = ServerProcess.Start folder.Path
        use client = new TextClient(server.Port)
        Expect.equal (client.TryGet "before") None "an item, after the time has come"
        stored client "set after 0 0" "value"
        Expect.isSome (client.TryGet "after") "an item from after the time"
        server.Kill()

    use server = ServerProcess.Start folder.Path
    use client = new TextClient(server.Port)
    Expect.isSome (client.TryGet "after") "an item from after the time, after another restart"
    Expect.equal (client.TryGet "before") None "an item from before, after another restart"

[<Tests>]
let tests =
    testList "Restart" [
        for durability in [ "sync"; "os"; "memory" ] do
            testCase $"items survive SIGTERM, durability {durability}"
            <| itemsSurvive [ "--durability"; durability ] Signal.Terminate

            testCase $"flush_all survives, also as the only write of a run, durability {durability}"
            <| flushSurvives durability

            testCase $"a delayed flush_all comes when it was said to, durability {durability}"
            <| delayedFlushSurvives durability

        testCase "items survive SIGINT" <| itemsSurvive [] Signal.Interrupt
        testCase "items survive SIGUSR1" <| itemsSurvive [] Signal.User1
        testCase "more than a memtable survives a clean stop, durability memory" manyItemsSurviveMemory
        testCase "expiry times survive" expirySurvives
        testCase "a delayed flush_all whose time comes while the server is away" delayedFlushWhileAway
    ]
