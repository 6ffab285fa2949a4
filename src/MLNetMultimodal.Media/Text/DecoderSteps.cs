using System.Text;
using System.Text.Json;

namespace MLNetMultimodal.Media.Text;

// The decoder of a tokenizer.json: steps that make tokens into text.
static class DecoderSteps
{
    public static Func<IReadOnlyList<string>, string> Read(JsonElement? decoder)
    {
        if (decoder is null)
            return tokens => string.Join(' ', tokens);
        Func<List<string>, List<string>>[] steps = [.. TokenizerDefinition.Steps(decoder, "decoders").Select(ReadStep)];
        return tokens => string.Concat(steps.Aggregate(tokens.ToList(), (list, step) => step(list)));
    }

    static Func<List<string>, List<string>> ReadStep(JsonElement step)
    {
        switch (step.GetProperty("type").GetString())
        {
            case "Replace":
                Func<string, string> replace = TextPattern.ReadReplacement(step);
                return tokens => [.. tokens.Select(replace)];
            case "ByteFallback": return JoinBytes;
            case "Fuse": return tokens => [string.Concat(tokens)];
            case "Metaspace":
                (string mark, string scheme) = PreTokenizerSteps.MetaspaceOptions(step);
                string first = scheme == "never" ? " " : "";
                return tokens => [.. tokens.Select((token, i) => token.Replace(mark, i == 0 ? first : " ", StringComparison.Ordinal))];
            case "Strip":
                string content = step.GetProperty("content").GetString()!;
                (int start, int stop) = (step.GetProperty("start").GetInt32(), step.GetProperty("stop").GetInt32());
                if (content.Length != 1)
                    throw new FormatException($"the decoder Strip takes away one character, but its content is '{content}'.");
                return tokens => [.. tokens.Select(token => Strip(token, content[0], start, stop))];
            default:
                throw new FormatException($"its decoder {step.GetProperty("type")} is not supported; Metaspace, Replace, "
                    + "ByteFallback, Fuse and Strip are.");
        }
    }

    // Up to `start` such characters from the left, up to `stop` from the right.
    static string Strip(string token, char content, int start, int stop)
    {
        int left = 0, right = token.Length;
        while (left < start && left < right && token[left] == content)
            left++;
        while (token.Length - right < stop && right > left && token[right - 1] == content)
            right--;
        return token[left..right];
    }

    // Bytes that stand together are one text; where they are no UTF-8, each is U+FFFD.
    static List<string> JoinBytes(List<string> tokens)
    {
        var strict = new UTF8Encoding(false, throwOnInvalidBytes: true);
        var result = new List<string>();
        var bytes = new List<byte>();
        foreach (string token in tokens)
            if (PieceLookup.TryParseByte(token, out byte value))
                bytes.Add(value);
            else
            {
                Flush();
                result.Add(token);
            }
        Flush();
        return result;

        void Flush()
        {
            if (bytes.Count == 0)
                return;
            try
            {
                result.Add(strict.GetString(bytes.ToArray()));
            }
            catch (DecoderFallbackException)
            {
                result.AddRange(Enumerable.Repeat("\uFFFD", bytes.Count));
            }
            bytes.Clear();
        }
    }
}
