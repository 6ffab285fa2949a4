using System.Security.Cryptography;
using System.Text;

namespace MLNetMultimodal.Benchmarks.Material;

/// <summary>Folders of generated things in the cache: made once, whole or not at all.</summary>
static class Generated
{
    /// <summary>The folder of this recipe; made where it is not there.</summary>
    /// <param name="run">Says where the cache is.</param>
    /// <param name="name">For people who look into the cache.</param>
    /// <param name="recipe">All that the content depends on.</param>
    /// <param name="make">Fills the folder it is given.</param>
    public static string Folder(Running.BenchmarkRun run, string name, string recipe, Action<string> make)
    {
        string key = Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(recipe)))[..8];
        string folder = Path.Combine(run.Cache, $"{name}-{key}");
        if (Directory.Exists(folder)) return folder;
        run.Say($"making {folder}");
        foreach (string earlier in Directory.Exists(run.Cache) ? Directory.GetDirectories(run.Cache, name + "-????????") : [])
            Directory.Delete(earlier, recursive: true); // of another recipe: hundreds of megabytes that nobody asks for again
        string temporary = $"{folder}.{Guid.NewGuid():N}.tmp";
        try
        {
            Directory.CreateDirectory(temporary);
            make(temporary);
            Directory.Move(temporary, folder);
        }
        finally
        {
            if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
        }
        return folder;
    }
}
