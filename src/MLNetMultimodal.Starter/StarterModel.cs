namespace MLNetMultimodal.Starter;

/// <summary>A small CLIP (Radford et al. 2021, arXiv:2103.00020) for pictures of clothing, which comes with the package.
/// Thread-safe.</summary>
public static class StarterModel
{
    const string Name = "starter-model";

    /// <summary>The model folder, for the option <c>Model</c> of a transform: <c>starter-model</c> beside the program, or beside
    /// this library where nothing was copied (in a notebook).</summary>
    /// <exception cref="DirectoryNotFoundException">The folder is in none of those places; the message lists them.</exception>
    public static string Folder
    {
        get
        {
            string program = AppContext.BaseDirectory;
            string? location = Path.GetDirectoryName(typeof(StarterModel).Assembly.Location); // empty in a single-file program
            string library = string.IsNullOrEmpty(location) ? program : location;
            string package = Path.Combine(library, "..", "..");
            string[] places = [.. new[] { program, library, package }
                .Select(place => Path.GetFullPath(Path.Combine(place, Name))).Distinct(StringComparer.Ordinal)];
            return Array.Find(places, place => File.Exists(Path.Combine(place, "config.json")))
                ?? throw new DirectoryNotFoundException($"the starter model is missing: no config.json in {string.Join(" or ", places.Select(p => $"'{p}'"))}; "
                + $"copy '{Name}' there, or name another model folder.");
        }
    }
}
