using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;

namespace LsmFs.Host;

// A process with threads cannot be forked, so -d starts the program a second time. The two talk over the child's standard streams:
//
//   stdout   child -> parent   the line "ready" once it serves; its end without that line: it has failed
//   stderr   child -> parent   what the child logs until then, passed on; the line below is the last. With -v it is the parent's own, and stays.
//   stdin    parent -> child   nothing; its end: the parent is gone, and the streams are of no use any more
//
// The child is told that it is one by the number of its parent in the environment.

/// <summary>Serving in the background: <c>-d</c>.</summary>
internal static class Daemon
{
    /// <summary>Begins the last line that the child logs to its parent.</summary>
    public const string LastLine = "goes on in the background";

    private const string ParentVariable = "LSMFS_DAEMON_OF";
    private const string Ready = "ready";

    /// <summary>Whether this process was started by <see cref="Start"/> of another one.</summary>
    public static bool IsChild() =>
        Environment.GetEnvironmentVariable(ParentVariable) == Unix.getppid().ToString(CultureInfo.InvariantCulture);

    /// <summary>
    /// Starts the program again in the background, and returns once it serves, or has failed: its exit code then, and what it said has been said.
    /// </summary>
    public static int Start(bool keepsErrors)
    {
        string program = Environment.ProcessPath ?? throw new InvalidOperationException("the program's own path is not known");
        var start = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = !keepsErrors,
        };

        if (Path.GetFileNameWithoutExtension(program) == "dotnet")
        {
            start.ArgumentList.Add(Assembly.GetExecutingAssembly().Location);
        }

        foreach (string argument in Environment.GetCommandLineArgs().Skip(1))
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment[ParentVariable] = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        using Process child = Process.Start(start) ?? throw new InvalidOperationException("the program does not start again");
        // Whoever gives up waiting does not want the server either.
        using var interrupt = PassOn(PosixSignal.SIGINT, child.Id);
        using var termination = PassOn(PosixSignal.SIGTERM, child.Id);
        Task passing = keepsErrors ? Task.CompletedTask : Task.Run(() => PassOn(child.StandardError));
        bool isReady = child.StandardOutput.ReadLine() == Ready;
        passing.Wait();

        if (isReady)
        {
            return ExitCode.Success;
        }

        child.WaitForExit();

        if (child.ExitCode == ExitCode.Success)
        {
            throw new ProcessException("the server was stopped while it was starting");
        }

        return child.ExitCode;
    }

    /// <summary>Makes the child the leader of a session of its own, so that no terminal's end reaches it.</summary>
    public static void Enter()
    {
        Environment.SetEnvironmentVariable(ParentVariable, null);
        _ = Unix.setsid();
    }

    /// <summary>Tells the parent that the child serves, and lets go of the streams once the parent is gone.</summary>
    public static void SayReady(bool keepsErrors)
    {
        using (Stream output = Console.OpenStandardOutput())
        {
            output.Write("ready\n"u8);
        }

        new Thread(() => LetGo(keepsErrors)) { IsBackground = true, Name = "daemon" }.Start();
    }

    private static PosixSignalRegistration PassOn(PosixSignal signal, int processId) => PosixSignalRegistration.Create(signal, context =>
    {
        context.Cancel = true;
        _ = Unix.kill(processId, Unix.Terminate);
    });

    private static void PassOn(StreamReader errors)
    {
        while (errors.ReadLine() is { } line)
        {
            ServeCommand.Say(line);

            if (line.Contains(LastLine, StringComparison.Ordinal))
            {
                return;
            }
        }
    }

    private static void LetGo(bool keepsErrors)
    {
        using (Stream input = Console.OpenStandardInput())
        {
            Span<byte> nothing = stackalloc byte[16];

            while (input.Read(nothing) > 0)
            {
            }
        }

        int nowhere = Unix.open("/dev/null", Unix.ReadWrite);

        for (int descriptor = 0; nowhere >= 0 && descriptor < (keepsErrors ? 2 : 3); descriptor++)
        {
            Unix.dup2(nowhere, descriptor);
        }

        if (nowhere > 2)
        {
            Unix.close(nowhere);
        }
    }
}
