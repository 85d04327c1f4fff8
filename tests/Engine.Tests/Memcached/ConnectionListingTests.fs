module LsmFs.Engine.Tests.ConnectionListingTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Interpreter

let private linesOf
    (address: string)
    (listenAddress: string voption)
    (facts: ConnectionFacts)
    (seconds: int64)
    : string =
    let buffer = ByteBuffer 16
    ConnectionListing.appendLines buffer 28L address listenAddress facts seconds
    ofLatin buffer.Written

[<Tests>]
let tests =
    testList "ConnectionListing" [
        testCase "the lines of a connection and of a listener are memcached's" (fun () ->
            Expect.equal
                (linesOf "tcp:127.0.0.1:46044" (ValueSome "tcp:127.0.0.1:11211") ConnectionFacts.HasSpoken 7L)
                "STAT 28:addr tcp:127.0.0.1:46044\r\nSTAT 28:listen_addr tcp:127.0.0.1:11211\r\nSTAT 28:state conn_read\r\nSTAT 28:secs_since_last_cmd 7\r\n"
                "a connection"

            Expect.equal
                (linesOf "unix:/run/a.sock" ValueNone ConnectionFacts.IsListener 0L)
                "STAT 28:addr unix:/run/a.sock\r\nSTAT 28:state conn_listening\r\nSTAT 28:secs_since_last_cmd 0\r\n"
                "a listener")

        testCase "a command that came after the clock was read is no time ago" (fun () ->
            Expect.stringContains (linesOf "" ValueNone ConnectionFacts.None -1L) "cmd 0\r\n" "never below 0")

        testCase "addresses are written as memcached writes them" (fun () ->
            for address, expected in
                [
                    "127.0.0.1", "tcp:127.0.0.1:80"
                    "0.0.0.0", "tcp:0.0.0.0:80"
                    "::1", "tcp6:[::1]:80"
                    "fe80::1%3", "tcp6:[fe80::1]:80"
                ] do
                Expect.equal (ConnectionListing.tcpAddress address 80) expected address

            Expect.equal (ConnectionListing.unixAddress "/a b") "unix:/a b" "a path")

        testCase "each fact shows, and what is waited for comes before what could be done" (fun () ->
            let inOrder = [
                ConnectionFacts.None, "conn_new_cmd"
                ConnectionFacts.HasSpoken, "conn_read"
                ConnectionFacts.AwaitsValue, "conn_nread"
                ConnectionFacts.HasWork, "conn_parse_cmd"
                ConnectionFacts.IsClosing, "conn_closing"
                ConnectionFacts.AwaitsStore, "conn_io_queue"
                ConnectionFacts.IsListing, "conn_watch"
                ConnectionFacts.OwesReplies, "conn_mwrite"
                ConnectionFacts.IsListener, "conn_listening"
            ]

            for facts, name in inOrder do
                Expect.equal (ConnectionListing.state facts) name $"%A{facts} alone"

            let all = inOrder |> List.scan (fun sum (fact, _) -> sum ||| fact) ConnectionFacts.None |> List.tail

            for facts, (_, name) in List.zip all inOrder do
                Expect.equal (ConnectionListing.state facts) name $"%A{facts}")
    ]
