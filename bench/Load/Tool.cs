using System.Runtime.InteropServices;

namespace LsmFs.Load;

/// <summary>What the measuring programs have in common: help, a stop in good order, and one line about what went wrong.</summary>
public static class Tool
{
    /// <summary>The exit code of a run that could not be made.</summary>
    public const int Failed = 2;

    /// <summary>Runs a program and returns its exit code; without arguments, or asked for it, it shows its help.</summary>
    /// <param name="name">Who speaks in an error.</param>
    /// <param name="wantsLinux">What it needs Linux for, as an error.</param>
    public static int Run(string name, string help, string wantsLinux, string[] args, Func<CancellationToken, int> run)
    {
        if (args.Length == 0 || args.Contains("--help") || args[0] == "help")
        {
            Console.WriteLine(help);
            return args.Length == 0 ? Failed : 0;
        }
        using var stop = new CancellationTokenSource();
        // Servers that were started must be stopped too, and folders removed: cancel, and let the unwinding do it.
        void Cancel(PosixSignalContext context)
        {
            context.Cancel = true;
            stop.Cancel();
        }
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Cancel);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Cancel);
        try
        {
            return OperatingSystem.IsLinux() ? run(stop.Token) : throw new LoadException(wantsLinux);
        }
        catch (Exception exception) when (exception is LoadException or IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"{name}: {exception.Message}");
            return Failed;
        }
    }
}
