module LsmFs.Engine.Tests.CrawlerTests

open System
open System.Text
open System.Text.RegularExpressions
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Peer

let private understand (arguments: string) (isEnabled: bool) : CrawlerRequest =
    CrawlerRequest.understand (span (latin arguments)) isEnabled { NoFlush = false; NoDump = false }

let private lineOf (append: ByteBuffer -> Entry -> unit) (sequence: uint64) (write: Write) : string =
    let buffer = ByteBuffer 16
    append buffer { Buffer = encode sequence write; Offset = 0 }
    ofLatin buffer.Written

let private fieldsOf (line: string) : Map<string, string> =
    line.Split ' '
    |> Array.map (fun field ->
        let at = field.IndexOf '='
        field[.. at - 1], field[at + 1 ..])
    |> Map.ofArray

let private item (key: byte[]) : Write = {
    WriteKey = key
    WriteValue = ValueSome "value"B
    WriteFlags = 0u
    WriteExpirySeconds = 0u
    WriteCas = 0UL
    WriteMarks = EntryMarks.None
}

[<Tests>]
let tests =
    testList "Crawler" [
        property "a metadump tells the key, expiry, cas unique, size and flags of an item" (fun (write: Write) ->
            let access = { LastSeconds = 1_900_000_000u; IsFetched = write.WriteCas = 0UL }
            let line = lineOf (fun buffer entry -> KeyListing.appendMetadump buffer entry access) 77UL write
            Expect.isTrue (line.EndsWith " \n" && line.IndexOf '\n' = line.Length - 1) "one line"
            Expect.isTrue (line |> Seq.forall (fun letter -> letter < '\127')) "of ASCII"
            let fields = fieldsOf (line.TrimEnd())

            let key = StringBuilder()
            let mutable at = 0

            while at < fields["key"].Length do
                if fields["key"][at] = '%' then
                    key.Append(char (Convert.ToByte(fields["key"].Substring(at + 1, 2), 16))) |> ignore
                    at <- at + 3
                else
                    key.Append(fields["key"][at]) |> ignore
                    at <- at + 1

            Expect.equal (latin (key.ToString())) write.WriteKey "the key"

            let expiry =
                if write.WriteExpirySeconds = 0u then
                    "-1"
                else
                    string write.WriteExpirySeconds

            let cas = if write.WriteCas = 0UL then 77UL else write.WriteCas

            Expect.equal
                (Map.remove "key" fields)
                (Map [
                    "exp", expiry
                    "la", "1900000000"
                    "cas", string cas
                    "fetch", (if access.IsFetched then "yes" else "no")
                    "cls", "1"
                    "size", string (encode 77UL write).Length
                    "flags", string write.WriteFlags
                ])
                "the rest")

        test "a metadump spells keys as memcached does" {
            let never = Unchecked.defaultof<Access>
            let append buffer entry = KeyListing.appendMetadump buffer entry never
            let line = lineOf append 5UL (item (latin "\u00E9/x~-._ %a"))

            Expect.equal
                line
                "key=%E9%2Fx~-._%20%25a exp=-1 la=0 cas=5 fetch=no cls=1 size=31 flags=0 \n"
                "letters, digits and -._~ stand for themselves"
        }

        property "an mgdump is made of meta commands that name the keys" (fun (Key key) ->
            let line = lineOf KeyListing.appendMgdump 1UL (item key)
            Expect.equal line $"mg %s{ofLatin (span key)}\r\n" "the key as it is")

        test "an mgdump has a key that is no word in base64" {
            for key in [ "a b"B; "a\nb"B; "a\r"B ] do
                Expect.equal
                    (lineOf KeyListing.appendMgdump 1UL (item key))
                    $"mg {Convert.ToBase64String key} b\r\n"
                    "a flag says so"
        }

        test "slab class 1 has every item, the others none" {
            for arguments in [ "metadump all"; "metadump hash"; "metadump 1"; "metadump 3,1,2"; "metadump ,1," ] do
                let request = understand arguments true
                Expect.equal (request.Action, request.Start) (CrawlerAction.Metadump, ReplyCode.Ok) arguments

            for arguments in [ "mgdump all"; "mgdump  hash "; "mgdump 1" ] do
                Expect.equal (understand arguments true).Action CrawlerAction.Mgdump arguments
                Expect.equal (understand arguments true).Reply ReplyCode.MetaEnd "the end of it"

            for arguments, reply in
                [ "metadump 2", ReplyCode.End; "metadump 2,63", ReplyCode.End; "mgdump 2", ReplyCode.MetaEnd ] do
                let request = understand arguments true

                Expect.equal
                    (request.Action, request.Start, request.Reply)
                    (CrawlerAction.Answer, ReplyCode.Ok, reply)
                    arguments
        }

        test "nothing is listed while the crawler is disabled" {
            for arguments in [ "metadump all"; "metadump x"; "mgdump hash"; "crawl 1" ] do
                let request = understand arguments false

                Expect.equal
                    (request.Action, request.Start, request.Reply)
                    (CrawlerAction.Answer, ReplyCode.None, ReplyCode.CrawlerDisabled)
                    arguments
        }

        propertyOf 500 "any words are understood" (fun (choices: byte list) ->
            let words = [|
                "crawl"
                "metadump"
                "mgdump"
                "sleep"
                "tocrawl"
                "enable"
                "all"
                "1"
                "1,"
                ","
                "-"
                "x"
            |]

            let line = String.Join(' ', choices |> List.map (fun choice -> words[int choice % words.Length]))

            for isEnabled in [ true; false ] do
                let request = understand line isEnabled
                Expect.isTrue (Enum.IsDefined request.Reply && request.Reply <> ReplyCode.None) "an answer")
    ]

/// Items as both servers are to list them: keys of every kind, and some that must not be there.
let private requests (now: int64) : string list = [
    "set plain 0 0 5\r\nvalue\r\n"
    "set with%percent 7 0 0\r\n\r\n"
    "set \u00C3\u00A9/slash,comma=equals~-._ 4294967295 0 3\r\nabc\r\n"
    "set control\001\255 0 0 1\r\nx\r\n"
    $"set later 1 {now + 5000L} 1\r\nx\r\n"
    $"set much-later 1 {now + 100_000_000L} 1\r\nx\r\n"
    $"set {String('k', 250)} 0 0 1\r\nx\r\n"
    "set replaced 1 0 1\r\nx\r\n"
    "set replaced 2 0 1\r\ny\r\n"
    "set expired 0 -1 1\r\nx\r\n"
    "set deleted 0 0 1\r\nx\r\n"
    "delete deleted\r\n"
]

/// The lines of a list in the order of the keys, without what each server has of its own: access times, cas uniques, classes and sizes; and flags, which
/// older releases do not tell.
let private comparable (answer: string) : string list =
    answer.Split '\n'
    |> Array.map (fun line -> Regex.Replace(line, " (la|cas|fetch|cls|size|flags)=\\w+", "").TrimEnd())
    // Older releases do not say OK first.
    |> Array.filter (fun line -> line <> "" && line <> "OK" && line <> "END" && line <> "EN")
    |> Array.sortWith (fun left right -> String.CompareOrdinal(left, right))
    |> List.ofArray

let private listsAlike (peer: Peer) =
    use connection = peer.Connect()
    let server = Server ProtocolLimits.valueLengthMaxDefault
    // The later one of two clocks: what lies in its future is live for both.
    let now = max (DateTimeOffset.UtcNow.ToUnixTimeSeconds()) (int64 server.NowSeconds)
    let model = Connection server
    // The memcached of these tests starts without it.
    connection.Ask(latin "lru_crawler enable\r\n", (fun answer -> answer.EndsWith "\r\n")) |> ignore

    for request in requests now do
        model.Receive(latin request)
        connection.Ask(latin request, (fun answer -> answer.EndsWith "\r\n")) |> ignore

    let ofModel (command: string) =
        let before = model.Output.Length
        model.Receive(latin command)
        model.Output.Substring before

    let ofPeer (command: string) (finish: string) =
        let isEnough (answer: string) =
            answer.EndsWith $"\n{finish}\r\n" || answer = $"{finish}\r\n" || answer.StartsWith "ERROR"

        connection.Ask(latin command, isEnough) |> fst

    for selection in [ "all"; "hash" ] do
        let command = $"lru_crawler metadump {selection}\r\n"
        let expected = comparable (ofModel command)
        Expect.equal expected.Length 8 "eight items are there"
        Expect.equal (comparable (ofPeer command "END")) expected command

        if not peer.IsOld then
            let command = $"lru_crawler mgdump {selection}\r\n"
            Expect.equal (comparable (ofPeer command "EN")) (comparable (ofModel command)) command

[<Tests>]
let peers = testList "Memcached peers" [ peerTest "keys are listed alike" listsAlike ]

[<Tests>]
let program = testList "Program" [ yield! programTest "keys are listed alike" listsAlike ]
