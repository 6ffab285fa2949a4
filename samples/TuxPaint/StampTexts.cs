using System.Text;

// The text of a stamp: its first line is English, the others begin with a language, such as "fr.utf8=Un merle.".
static class StampTexts
{
    // Empty where there is none in that language.
    public static string Read(string file, string language)
    {
        if (file.Length == 0) return "";
        string[] lines = File.ReadAllLines(file, Encoding.UTF8);
        if (language == "en") return lines.FirstOrDefault("").Trim();
        string start = language + ".utf8=";
        return lines.FirstOrDefault(line => line.StartsWith(start, StringComparison.Ordinal), start)[start.Length..].Trim();
    }
}
