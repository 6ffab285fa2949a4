using System.Text.Json;

namespace MLNetMultimodal.Media.Text;

// The tokens that the post_processor of a tokenizer.json puts before and after a text.
sealed record TokenTemplate(IReadOnlyList<string> Before, IReadOnlyList<string> After)
{
    const int MaxTokens = 16;

    public static TokenTemplate Read(JsonElement? processor)
    {
        (List<string> before, List<string> after) = ([], []);
        foreach (JsonElement step in TokenizerDefinition.Steps(processor, "processors"))
            switch (step.GetProperty("type").GetString())
            {
                case "RobertaProcessing" or "BertProcessing":
                    before.Insert(0, step.GetProperty("cls")[0].GetString()!);
                    after.Add(step.GetProperty("sep")[0].GetString()!);
                    break;
                case "TemplateProcessing":
                    ReadSingle(step, before, after);
                    break;
                default:
                    throw new FormatException($"its post_processor {step.GetProperty("type")} is not supported; "
                        + "TemplateProcessing, RobertaProcessing and BertProcessing are.");
            }
        return before.Count + after.Count <= MaxTokens ? new(before, after)
            : throw new FormatException(
                $"its post_processor puts {before.Count + after.Count} tokens around a text; {MaxTokens} are allowed.");
    }

    // The template of one text; that of a pair is not needed.
    static void ReadSingle(JsonElement step, List<string> before, List<string> after)
    {
        int at = 0;
        bool isAfter = false;
        foreach (JsonElement item in step.GetProperty("single").EnumerateArray())
            if (item.TryGetProperty("Sequence", out _))
                isAfter = !isAfter ? true : throw new FormatException("its TemplateProcessing names the text twice.");
            else
            {
                string id = item.GetProperty("SpecialToken").GetProperty("id").GetString()!;
                JsonElement special = step.GetProperty("special_tokens").GetProperty(id);
                foreach (JsonElement token in special.GetProperty("tokens").EnumerateArray())
                    if (isAfter)
                        after.Add(token.GetString()!);
                    else
                        before.Insert(at++, token.GetString()!);
            }
        if (!isAfter)
            throw new FormatException("its TemplateProcessing leaves the text out.");
    }
}
