/// What an operator sees when something is wrong: one line that says what, and an exit code; and nothing is made worse.
module LsmFs.Server.Tests.ErrorTests

open System
open System.Buffers.Binary
open System.IO
open System.Security.Cryptography
open Expecto
open LsmFs.Engine

let private runOn (folder: string) (flags: string list) =
    Executable.run Executable.lsmfs ([ "-p"; "0"; "--data"; folder ] @ flags)

/// The run ended with this code, and said why in one line that has these words.
let private expectRefusal (exitCode: int) (words: string list) (run: ExecutableRun) =
    let failures = run.Errors |> List.filter (fun line -> not (line.Contains " info: "))
    Expect.equal failures.Length 1 $"one line: {run.Errors}"
    Expect.stringStarts failures.Head "lsmfs: " "the line"
    Expect.equal run.ExitCode exitCode $"the exit code: {run.Errors}"

    for word in words do
        Expect.stringContains failures.Head word "the line"

/// Every file of a folder with its content's hash.
let private fingerprint (folder: string) : Map<string, string> =
    Directory.GetFiles folder
    |> Array.filter (fun file -> Path.GetFileName file <> "LOCK")
    |> Array.map (fun file ->
        string (Path.GetFileName file), Convert.ToHexString(SHA256.HashData(File.ReadAllBytes file)))
    |> Map.ofArray

/// The number of keys that the folders below hold.
let private keyCount = 3000

/// A store's files after a clean stop: tables, and a log with many records.
let private template =
    lazy
        (let folder = new TemporaryFolder()
         AppDomain.CurrentDomain.ProcessExit.Add(fun _ -> (folder :> IDisposable).Dispose())
         use server = ServerProcess.Start(folder.Path, "-m", "8", "--durability", "os")
         use client = new TextClient(server.Port)
         let value = String('v', 1000)

         for index in 1..keyCount do
             Expect.equal (client.Ask $"set key-{index} 0 0 1000\r\n{value}") "STORED" "set"

         server.StopCleanly()
         folder.Path)

let private withStore (body: string -> unit) =
    use folder = new TemporaryFolder()

    for file in Directory.GetFiles template.Value do
        File.Copy(file, folder.At(string (Path.GetFileName file)))

    body folder.Path

let private table (folder: string) = DataFiles.withEnding ".sst" folder |> List.head
let private log (folder: string) = DataFiles.withEnding ".wal" folder |> List.last
let private current (folder: string) = Path.Combine(folder, "CURRENT")

let private changeFile (path: string) (change: byte[] -> unit) =
    let bytes = File.ReadAllBytes path
    change bytes
    File.WriteAllBytes(path, bytes)

let private flip (offset: int) (bytes: byte[]) =
    let place = if offset < 0 then bytes.Length + offset else offset
    bytes[place] <- bytes[place] ^^^ 0x10uy

/// A server refuses the folder, names the file, and leaves every file as it was.
let private refuses (words: string list) (folder: string) =
    let before = fingerprint folder
    runOn folder [] |> expectRefusal 1 ("is damaged" :: words)
    Expect.equal (fingerprint folder) before "the files after the refusal"

let private nameOf (path: string) = string (Path.GetFileName path)

let private refusesFlip (fileOf: string -> string) (offsets: int list) () =
    for offset in offsets do
        withStore (fun folder ->
            let file = fileOf folder
            changeFile file (flip offset)
            refuses [ nameOf file; "offset " ] folder)

/// A version that is not known is no damage in disguise: the checksum is right.
let private refusesLogVersion (fileOf: string -> string) () =
    withStore (fun folder ->
        let file = fileOf folder

        changeFile file (fun bytes ->
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(8), 7u)
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(28), Checksum.compute (ReadOnlySpan(bytes, 0, 28))))

        refuses [ nameOf file; "version 7" ] folder)

let private refusesTableVersion () =
    withStore (fun folder ->
        let file = table folder

        changeFile file (fun bytes ->
            let footer = bytes.AsSpan(bytes.Length - TableFormat.footerLengthBytes)
            BinaryPrimitives.WriteUInt32BigEndian(footer.Slice 20, 7u)

            BinaryPrimitives.WriteUInt32BigEndian(
                footer.Slice 24,
                Checksum.compute (ReadOnlySpan(footer.Slice(0, 24).ToArray()))
            ))

        refuses [ nameOf file; "version 7" ] folder)

/// The store opens although the end of its log is torn, says so, and lacks nothing but what was torn.
let private opensTornLog (tear: string -> unit) (isLastKeyThere: bool) () =
    withStore (fun folder ->
        let file = log folder
        tear file
        use server = ServerProcess.Start folder

        // Said before the line that it serves.
        Expect.exists
            server.Errors
            (fun line -> line.Contains " warning: " && line.Contains(nameOf file) && line.Contains "cut")
            $"the torn tail is told: {server.Errors}"

        use client = new TextClient(server.Port)
        Expect.isSome (client.TryGet $"key-{keyCount - 1}") "the write before the last"
        Expect.equal (client.TryGet $"key-{keyCount}").IsSome isLastKeyThere "the last write"
        server.StopCleanly())

/// The last edit of a manifest cannot be told from one that a crash tore, which is left out. What it had led to can: nothing may be lost quietly.
let private lastEditDamage () =
    use folder = new TemporaryFolder()

    do
        use server = ServerProcess.Start(folder.Path, "-m", "8", "--durability", "os")
        use client = new TextClient(server.Port)
        let value = String('v', 100_000)

        // Until a flush has made the log it came from superfluous.
        while (DataFiles.stateOf folder.Path).Version.Levels[0].Length = 0 do
            Expect.equal (client.Ask $"set key 0 0 100000\r\n{value}") "STORED" "set"

        DataFiles.expectNoLeftovers folder.Path
        server.Kill()

    let manifest = DataFiles.manifestOf folder.Path
    changeFile manifest (flip -1)
    refuses [ nameOf manifest; ".wal" ] folder.Path

/// Changes a byte of a block: keys that need it are answered with an error, `mostKeys` at most, and all others with their values.
let private blockDamage (offsetOf: byte[] -> int) (mostKeys: int) () =
    withStore (fun folder ->
        changeFile (table folder) (fun file -> flip (offsetOf file) file)
        use server = ServerProcess.Start folder
        use client = new TextClient(server.Port)

        let answers = [
            for index in 1..keyCount do
                client.Send $"get key-{index}\r\n"
                let line = client.ReadLine()

                if line.StartsWith "VALUE" then
                    client.ReadBytes 1002 |> ignore
                    Expect.equal (client.ReadLine()) "END" "the end of a retrieval"

                index, line
        ]

        let unreadable, rest = answers |> List.partition (fun (_, line) -> line.StartsWith "SERVER_ERROR")
        Expect.isNonEmpty unreadable "keys of the damaged block are answered with an error"
        Expect.isLessThanOrEqual unreadable.Length mostKeys "and no others are"

        for index, line in rest do
            Expect.equal line $"VALUE key-{index} 0 1000" "a key of another block"

        let index, _ = unreadable.Head
        Expect.stringStarts (client.Ask $"append key-{index} 0 0 1\r\nx") "SERVER_ERROR" "a write that needs the value"
        server.AwaitError(nameOf (table folder))
        Expect.isFalse (server.Errors |> List.exists (fun line -> line.StartsWith "   at ")) "no stack trace"
        Expect.equal (client.Ask $"set key-{index} 0 0 1\r\nx") "STORED" "a write that does not"
        Expect.equal (client.TryGetText $"key-{index}") (Some "x") "its value")

/// In the first entry of the first block: its key is not believed either.
let private inDataBlock (_: byte[]) : int = 18

/// In the first partition, which begins where the data blocks end: the first field of the footer.
let private inPartition (file: byte[]) : int =
    int (Coding.readU64 (ReadOnlySpan<byte> file) (file.Length - TableFormat.footerLengthBytes)) + 3

let private unwritable () = expectRefusal 1 [ "/proc/lsmfs" ] (runOn "/proc/lsmfs" [])

/// What runs a program as a user who may not write the folder, where that is possible.
let private asNobody: string list option =
    if Environment.UserName <> "root" then
        Some []
    else
        match Executable.tryFind "setpriv" with
        | Some setpriv ->
            let prefix = [ setpriv; "--reuid=65534"; "--regid=65534"; "--clear-groups" ]
            let run = Executable.run setpriv (prefix.Tail @ [ Executable.lsmfs; "-V" ])
            if run.ExitCode = 0 then Some prefix else None
        | None -> None

let private unwritableByUser (prefix: string list) () =
    use folder = new TemporaryFolder()

    File.SetUnixFileMode(
        folder.Path,
        UnixFileMode.UserRead
        ||| UnixFileMode.UserExecute
        ||| UnixFileMode.OtherRead
        ||| UnixFileMode.OtherExecute
    )

    for path in [ folder.Path; folder.At "below" ] do
        match prefix @ [ Executable.lsmfs; "-p"; "0"; "--data"; path ] with
        | program :: arguments -> Executable.run program arguments |> expectRefusal 1 [ path ]
        | [] -> ()

let private currentMissing () =
    withStore (fun folder ->
        File.Delete(current folder)
        refuses [ "CURRENT is missing" ] folder)

let private manifestMissing () =
    withStore (fun folder ->
        let manifest = DataFiles.manifestOf folder
        File.Delete manifest
        refuses [ nameOf manifest ] folder)

let private tableMissing () =
    withStore (fun folder ->
        let missing = table folder
        File.Delete missing
        refuses [ nameOf missing ] folder)

let private tableCut () =
    withStore (fun folder ->
        let file = table folder
        let bytes = File.ReadAllBytes file
        File.WriteAllBytes(file, bytes[.. bytes.Length / 2])
        refuses [ nameOf file ] folder)

let private wrongFlags = [
    [ "-c"; "0" ]
    [ "-t"; "0" ]
    [ "-I"; "1000" ]
    [ "-I"; "1g" ]
    [ "-p"; "99999" ]
    [ "-m"; "0" ]
    [ "-l"; "999.1.1.1" ]
    [ "-l"; "notls:127.0.0.1" ]
    [ "-s"; "" ]
    [ "-a"; "999" ]
    [ "-b"; "x" ]
    [ "-R"; "0" ]
    [ "-o"; "idle_timeout=x" ]
    [ "-u"; "" ]
    [ "-P"; "" ]
    [ "--durability"; "foo" ]
    [ "--no-such-flag" ]
    [ "-Z" ]
    [ "--data"; "" ]
    [ "fly" ]
]

[<Tests>]
let tests =
    testList "Errors" [
        for flags in wrongFlags do
            testCase $"""refused: {String.Join(' ', flags)}"""
            <| fun () -> Executable.run Executable.lsmfs flags |> expectRefusal 64 [ flags.Head.TrimStart '-' ]

        testCase "a folder that cannot be made" unwritable

        match asNobody with
        | Some prefix -> testCase "a folder that the user may not write" <| unwritableByUser prefix
        | None ->
            ptestCase "a folder that the user may not write (needs setpriv and a program that nobody may run)" ignore

        testCase "a changed byte in a table's footer" <| refusesFlip table [ -36; -24; -16; -12; -1 ]
        testCase "a changed byte in a table's index or properties" <| refusesFlip table [ -37; -60; -90 ]
        testCase "a changed byte in the manifest"
        <| refusesFlip DataFiles.manifestOf [ 0; 9; 13; 21; 30; 33; 50 ]
        testCase "a changed byte in the manifest's last edit" lastEditDamage
        testCase "a changed byte in CURRENT" <| refusesFlip current [ 0; 10; -2; -1 ]
        testCase "a changed byte in a log, with whole records after it"
        <| refusesFlip log [ 0; 12; 20; 34; 40; 100; 5000 ]
        testCase "a damaged data block is an error for its keys alone" <| blockDamage inDataBlock 100
        testCase "a damaged partition is an error for its keys alone" <| blockDamage inPartition keyCount

        testCase "a log cut in its last record opens"
        <| opensTornLog
            (fun file -> File.WriteAllBytes(file, (File.ReadAllBytes file)[.. -8 + (File.ReadAllBytes file).Length]))
            false

        testCase "a log with a changed byte in its last record opens"
        <| opensTornLog (fun file -> changeFile file (flip -100)) false

        testCase "a log with the beginning of a record behind its end opens"
        <| opensTornLog (fun file -> File.AppendAllText(file, "FRAM\000\000\001\000")) true

        testCase "CURRENT missing beside tables" currentMissing
        testCase "the manifest missing" manifestMissing
        testCase "a table missing" tableMissing
        testCase "a table cut in the middle" tableCut
        testCase "an unknown version of a table" refusesTableVersion
        testCase "an unknown version of a log" <| refusesLogVersion log
        testCase "an unknown version of the manifest" <| refusesLogVersion DataFiles.manifestOf
    ]
