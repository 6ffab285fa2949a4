namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>The source tree that this program was built from: scripts, vocabularies and pictures are read there.</summary>
static class Repository
{
    public static string Root { get; } = Find();

    /// <summary>The folder of this project.</summary>
    public static string Benchmarks => Path.Combine(Root, "tests", "MLNetMultimodal.Benchmarks");

    static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "MLNetMultimodal.sln"))) return folder.FullName;
        throw new DirectoryNotFoundException($"there is no MLNetMultimodal.sln above '{AppContext.BaseDirectory}'; "
            + "run the benchmarks from the source tree.");
    }
}
