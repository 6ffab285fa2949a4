using System.Globalization;
using System.Text;

namespace MLNetMultimodal.Media.Text;

// Unicode normalisation forms C, D, KC and KD. .NET's own does nothing under InvariantGlobalization and needs ICU otherwise; token
// ids must not depend on that.
// Tables: CanonicalComposition.txt and CompatibilityDecomposition.txt, embedded resources. Algorithm: Unicode Standard Annex 15.
static class CanonicalComposition
{
    const int HangulBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TrailBase = 0x11A7;
    const int Leads = 19, Vowels = 21, Trails = 28, Syllables = Leads * Vowels * Trails;

    // Below this code point nothing composes with what comes before, and nothing decomposes for good.
    const char FirstMark = '\u0300';

    static readonly Dictionary<int, int[]> Decompositions = [];
    static readonly Dictionary<(int First, int Second), int> Compositions = [];
    static readonly Dictionary<int, int> Classes = [];
    static readonly Lazy<Dictionary<int, int[]>> Compatible = new(ReadCompatible);

    // Lines are "code: class", "code = part part" (composes) or "code > parts" (never composed again), in hexadecimal.
    static CanonicalComposition()
    {
        foreach (string[] fields in Lines("CanonicalComposition.txt"))
        {
            if (fields[0].EndsWith(':'))
            {
                int[] range = [.. fields[0].TrimEnd(':').Split('-').Select(Hex)];
                for (int code = range[0]; code <= range[^1]; code++)
                    Classes[code] = Hex(fields[1]);
                continue;
            }
            int[] parts = [.. fields[2..].Select(Hex)];
            Decompositions[Hex(fields[0])] = parts;
            if (fields[1] == "=")
                Compositions[(parts[0], parts[1])] = Hex(fields[0]);
        }
    }

    // Lines are "code = parts", in hexadecimal.
    static Dictionary<int, int[]> ReadCompatible() =>
        Lines("CompatibilityDecomposition.txt").ToDictionary(f => Hex(f[0]), f => f[2..].Select(Hex).ToArray());

    static IEnumerable<string[]> Lines(string resource)
    {
        using Stream stream = typeof(CanonicalComposition).Assembly.GetManifestResourceStream(resource)!;
        using var reader = new StreamReader(stream);
        while (reader.ReadLine() is { } line)
            if (!line.StartsWith('#'))
                yield return line.Split(' ');
    }

    public static string Compose(string text) => Normalize(text, (char)(FirstMark - 1), composes: true);

    // Normalisation form D.
    public static string Decompose(string text) => Normalize(text, '\u00BF', composes: false);

    // Normalisation form KC.
    public static string ComposeCompatible(string text) => Normalize(text, '\u009F', composes: true, Compatible.Value);

    // Normalisation form KD.
    public static string DecomposeCompatible(string text) => Normalize(text, '\u009F', composes: false, Compatible.Value);

    // Text up to lastPlain stays as it is.
    static string Normalize(string text, char lastPlain, bool composes, Dictionary<int, int[]>? compatible = null)
    {
        if (!text.AsSpan().ContainsAnyExceptInRange('\0', lastPlain))
            return text;
        var codes = new List<int>(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
            Decompose(rune.Value, codes, compatible);
        SortMarks(codes);
        if (composes)
            Recompose(codes);
        return ToText(codes);
    }

    static string ToText(List<int> codes)
    {
        var result = new StringBuilder(codes.Count);
        Span<char> chars = stackalloc char[2];
        foreach (int code in codes)
            result.Append(chars[..new Rune(code).EncodeToUtf16(chars)]);
        return result.ToString();
    }

    static void Decompose(int code, List<int> target, Dictionary<int, int[]>? compatible)
    {
        if (code - HangulBase is >= 0 and < Syllables and int syllable)
        {
            target.Add(LeadBase + syllable / (Vowels * Trails));
            target.Add(VowelBase + syllable % (Vowels * Trails) / Trails);
            if (syllable % Trails > 0)
                target.Add(TrailBase + syllable % Trails);
        }
        else if ((compatible is not null && compatible.TryGetValue(code, out int[]? parts))
            || Decompositions.TryGetValue(code, out parts))
            foreach (int part in parts)
                Decompose(part, target, compatible);
        else
            target.Add(code);
    }

    // Marks of one letter go by class, those of one class keep their order.
    static void SortMarks(List<int> codes)
    {
        for (int start = 0; start < codes.Count; start++)
        {
            int end = start;
            while (end < codes.Count && ClassOf(codes[end]) > 0)
                end++;
            if (end - start < 2)
                continue;
            int[] sorted = [.. codes[start..end].OrderBy(ClassOf)];
            for (int i = 0; i < sorted.Length; i++)
                codes[start + i] = sorted[i];
            start = end;
        }
    }

    static void Recompose(List<int> codes)
    {
        int starter = -1, kept = 0, lastClass = 0;
        for (int i = 0; i < codes.Count; i++)
        {
            int code = codes[i], markClass = ClassOf(code);
            bool blocked = starter < 0 || (kept > starter + 1 && (lastClass >= markClass || lastClass == 0));
            if (!blocked && TryCompose(codes[starter], code, out int composed))
            {
                codes[starter] = composed;
                continue;
            }
            if (markClass == 0)
                starter = kept;
            lastClass = markClass;
            codes[kept++] = code;
        }
        codes.RemoveRange(kept, codes.Count - kept);
    }

    static bool TryCompose(int first, int second, out int composed)
    {
        composed = 0;
        if (first - LeadBase is >= 0 and < Leads && second - VowelBase is >= 0 and < Vowels)
            composed = HangulBase + ((first - LeadBase) * Vowels + (second - VowelBase)) * Trails;
        else if (first - HangulBase is >= 0 and < Syllables && (first - HangulBase) % Trails == 0
            && second - TrailBase is > 0 and < Trails)
            composed = first + (second - TrailBase);
        return composed > 0 || Compositions.TryGetValue((first, second), out composed);
    }

    static int ClassOf(int code) => code < FirstMark ? 0 : Classes.GetValueOrDefault(code);

    static int Hex(string digits) => int.Parse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
