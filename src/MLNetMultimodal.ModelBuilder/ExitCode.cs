namespace MLNetMultimodal.ModelBuilder;

/// <summary>What the process ends with.</summary>
static class ExitCode
{
    public const int Done = 0;

    /// <summary>The work failed, in whole or in part.</summary>
    public const int Failed = 1;

    /// <summary>The command line makes no sense.</summary>
    public const int WrongUsage = 2;
}
