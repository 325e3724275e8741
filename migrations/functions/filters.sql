-- Conditions of filters, as store/filters.py and patch conditions use them.

-- Return the attributes of a record as filters name them.
CREATE OR REPLACE FUNCTION draftline.attributes(record_id text, version bigint, parent_id text, "position" bigint,
    created_at timestamptz, created_by text, updated_at timestamptz, updated_by text) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT jsonb_build_object('record_id', record_id, 'version', version, 'parent_id', parent_id,
        'position', "position", 'create_time', created_at, 'created_by', created_by,
        'update_time', updated_at, 'updated_by', updated_by)
$$;

-- Return whether there is a value other than null at a path.
CREATE OR REPLACE FUNCTION draftline.present_at(content jsonb, path text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_typeof(content #> path) <> 'null';

-- Return whether there is, at a path, an array with the scalar, an object with the key, or the scalar itself.
CREATE OR REPLACE FUNCTION draftline.has_at(content jsonb, path text[], scalar jsonb, key text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE jsonb_typeof(content #> path) WHEN 'object' THEN (content #> path) ? key
                                          ELSE (content #> path) @> scalar END;

-- Compare the value at a condition's path with the condition's value: below zero, zero or above; NULL for another type.
-- It uses the comparison functions of the btree operator classes, and so the order of the indexes.
CREATE OR REPLACE FUNCTION draftline.compare_at(content jsonb, path text[], condition jsonb) RETURNS int
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    CASE condition ->> 'type'
        WHEN 'TEXT' THEN
            RETURN bttextcmp(draftline.text_at(content, path), condition ->> 'value' COLLATE "C");
        WHEN 'NUMBER' THEN
            RETURN numeric_cmp(draftline.number_at(content, path), (condition ->> 'value')::numeric);
        WHEN 'BOOLEAN' THEN
            RETURN btboolcmp(draftline.boolean_at(content, path), (condition ->> 'value')::boolean);
        WHEN 'DATE' THEN
            RETURN date_cmp(draftline.date_at(content, path), draftline.read_date(condition ->> 'value'));
        WHEN 'TIMESTAMP' THEN
            RETURN timestamptz_cmp(draftline.timestamp_at(content, path),
                                   draftline.read_timestamp(condition ->> 'value'));
    END CASE;
END $$;

-- Return whether a document satisfies one condition of a filter. The document is the content, the attributes, or a
-- value that an outer condition found.
CREATE OR REPLACE FUNCTION draftline.matches_condition(content jsonb, condition jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    op text := condition ->> 'op';
    value jsonb;
BEGIN
    IF op = 'any' THEN  -- of the values at a path on which an array stands for each of its elements
        RETURN EXISTS (SELECT FROM jsonb_path_query(content, (condition ->> 'through')::jsonpath) AS v (value)
                       WHERE draftline.matches_condition(v.value, condition -> 'term'));
    ELSIF op = 'mistyped' THEN
        RETURN EXISTS (SELECT FROM jsonb_array_elements(condition -> 'fields') AS f (field)
                       WHERE draftline.is_mistyped(draftline.value_at(content, (f.field ->> 'path')::text[]),
                                                   f.field ->> 'type'));
    END IF;
    value := draftline.value_at(content, (condition ->> 'path')::text[]);
    CASE op
        WHEN '=' THEN RETURN draftline.compare_value(value, condition) = 0;
        WHEN '<' THEN RETURN draftline.compare_value(value, condition) < 0;
        WHEN '<=' THEN RETURN draftline.compare_value(value, condition) <= 0;
        WHEN '>' THEN RETURN draftline.compare_value(value, condition) > 0;
        WHEN '>=' THEN RETURN draftline.compare_value(value, condition) >= 0;
        WHEN 'prefix' THEN RETURN starts_with(draftline.text_at(value, '{}'), condition ->> 'value');
        WHEN 'like' THEN
            IF condition ? 'lower' THEN
                RETURN draftline.lower_text(draftline.text_at(value, '{}')) COLLATE "C"
                    LIKE draftline.lower_text(condition ->> 'value');
            END IF;
            RETURN draftline.text_at(value, '{}') COLLATE "C" LIKE condition ->> 'value';
        WHEN 'present' THEN RETURN draftline.present_at(value, '{}');
        WHEN 'has_key' THEN RETURN draftline.has_key_at(value, '{}', condition ->> 'key');
        -- As the version before wrote it, which may still be serving.
        WHEN 'has' THEN
            RETURN draftline.has_at(value, '{}',
                CASE condition ->> 'type' WHEN 'TEXT' THEN condition -> 'value'
                                          ELSE (condition ->> 'value')::jsonb END,
                condition ->> 'key');
    END CASE;  -- anything else raises: a condition that is not understood is not met
END $$;

-- Return whether a record satisfies a filter, true or false and never NULL. `attributes`: as draftline.attributes
-- returns them; `condition`: as draftline_server.domain.filters.ast.to_json makes it; NULL: always true.
CREATE OR REPLACE FUNCTION draftline.matches(attributes jsonb, content jsonb, condition jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    op text := condition ->> 'op';
BEGIN
    IF condition IS NULL THEN
        RETURN true;
    END IF;
    IF op = 'not' THEN
        RETURN NOT draftline.matches(attributes, content, condition -> 'term');
    END IF;
    IF op NOT IN ('and', 'or') THEN
        RETURN coalesce(draftline.matches_condition(
            CASE condition ->> 'in' WHEN 'record' THEN attributes ELSE content END, condition), false);
    END IF;
    FOR place IN 0 .. jsonb_array_length(condition -> 'terms') - 1 LOOP
        IF draftline.matches(attributes, content, condition -> 'terms' -> place) = (op = 'or') THEN
            RETURN op = 'or';
        END IF;
    END LOOP;
    RETURN op = 'and';
END $$;

-- Convert each letter that has a lower-case form of one letter to it, by the simple lower-case mappings of Unicode 14.
-- lower() is not used, because its result depends on how and for which system PostgreSQL was built. translate()
-- searches its table for each letter, so it is given only letters that are in the table, and those of the most frequent
-- scripts come first.
CREATE OR REPLACE FUNCTION draftline.lower_text(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    upper_case CONSTANT text :=
        'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮĲĴĶĹĻĽĿŁŃŅŇŊŌŎŐŒŔŖ'
        'ŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯѠѢѤѦ'
        'ѨѪѬѮѰѲѴѶѸѺѼѾҀҊҌҎҐҒҔҖҘҚҜҞҠҢҤҦҨҪҬҮҰҲҴҶҸҺҼҾӀӁӃӅӇӉӋӍӐӒӔӖӘӚӜӞӠӢӤӦӨӪӬӮӰӲӴӶӸӺӼӾ'
        'ͰͲͶͿΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫϏϘϚϜϞϠϢϤϦϨϪϬϮϴϷϹϺϽϾϿḀḂḄḆḈḊḌḎḐḒḔḖḘḚḜ'
        'ḞḠḢḤḦḨḪḬḮḰḲḴḶḸḺḼḾṀṂṄṆṈṊṌṎṐṒṔṖṘṚṜṞṠṢṤṦṨṪṬṮṰṲṴṶṸṺṼṾẀẂẄẆẈẊẌẎẐẒẔẞẠẢẤẦẨẪẬẮẰẲẴ'
        'ẶẸẺẼẾỀỂỄỆỈỊỌỎỐỒỔỖỘỚỜỞỠỢỤỦỨỪỬỮỰỲỴỶỸỺỼỾƁƂƄƆƇƉƊƋƎƏƐƑƓƔƖƗƘƜƝƟƠƢƤƦƧƩƬƮƯƱƲƳƵƷƸ'
        'ƼǄǅǇǈǊǋǍǏǑǓǕǗǙǛǞǠǢǤǦǨǪǬǮǱǲǴǶǷǸǺǼǾȀȂȄȆȈȊȌȎȐȒȔȖȘȚȜȞȠȢȤȦȨȪȬȮȰȲȺȻȽȾɁɃɄɅɆɈɊɌɎ'
        'ԀԂԄԆԈԊԌԎԐԒԔԖԘԚԜԞԠԢԤԦԨԪԬԮԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖႠႡႢႣႤႥႦႧႨႩ'
        'ႪႫႬႭႮႯႰႱႲႳႴႵႶႷႸႹႺႻႼႽႾႿჀჁჂჃჄჅჇჍᎠᎡᎢᎣᎤᎥᎦᎧᎨᎩᎪᎫᎬᎭᎮᎯᎰᎱᎲᎳᎴᎵᎶᎷᎸᎹᎺᎻᎼᎽᎾᎿᏀᏁᏂᏃᏄᏅᏆᏇᏈᏉ'
        'ᏊᏋᏌᏍᏎᏏᏐᏑᏒᏓᏔᏕᏖᏗᏘᏙᏚᏛᏜᏝᏞᏟᏠᏡᏢᏣᏤᏥᏦᏧᏨᏩᏪᏫᏬᏭᏮᏯᏰᏱᏲᏳᏴᏵᲐᲑᲒᲓᲔᲕᲖᲗᲘᲙᲚᲛᲜᲝᲞᲟᲠᲡᲢᲣᲤᲥᲦᲧᲨᲩᲪᲫ'
        'ᲬᲭᲮᲯᲰᲱᲲᲳᲴᲵᲶᲷᲸᲹᲺᲽᲾᲿἈἉἊἋἌἍἎἏἘἙἚἛἜἝἨἩἪἫἬἭἮἯἸἹἺἻἼἽἾἿὈὉὊὋὌὍὙὛὝὟὨὩὪὫὬὭὮὯᾈᾉᾊᾋᾌᾍ'
        'ᾎᾏᾘᾙᾚᾛᾜᾝᾞᾟᾨᾩᾪᾫᾬᾭᾮᾯᾸᾹᾺΆᾼῈΈῊΉῌῘῙῚΊῨῩῪΎῬῸΌῺΏῼΩKÅℲⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅪⅫⅬⅭⅮⅯↃⒶⒷⒸⒹⒺⒻⒼⒽⒾ'
        'ⒿⓀⓁⓂⓃⓄⓅⓆⓇⓈⓉⓊⓋⓌⓍⓎⓏⰀⰁⰂⰃⰄⰅⰆⰇⰈⰉⰊⰋⰌⰍⰎⰏⰐⰑⰒⰓⰔⰕⰖⰗⰘⰙⰚⰛⰜⰝⰞⰟⰠⰡⰢⰣⰤⰥⰦⰧⰨⰩⰪⰫⰬⰭⰮⰯⱠⱢⱣⱤⱧⱩⱫ'
        'ⱭⱮⱯⱰⱲⱵⱾⱿⲀⲂⲄⲆⲈⲊⲌⲎⲐⲒⲔⲖⲘⲚⲜⲞⲠⲢⲤⲦⲨⲪⲬⲮⲰⲲⲴⲶⲸⲺⲼⲾⳀⳂⳄⳆⳈⳊⳌⳎⳐⳒⳔⳖⳘⳚⳜⳞⳠⳢⳫⳭⳲꙀꙂꙄꙆꙈꙊꙌꙎꙐꙒꙔ'
        'ꙖꙘꙚꙜꙞꙠꙢꙤꙦꙨꙪꙬꚀꚂꚄꚆꚈꚊꚌꚎꚐꚒꚔꚖꚘꚚꜢꜤꜦꜨꜪꜬꜮꜲꜴꜶꜸꜺꜼꜾꝀꝂꝄꝆꝈꝊꝌꝎꝐꝒꝔꝖꝘꝚꝜꝞꝠꝢꝤꝦꝨꝪꝬꝮꝹꝻꝽꝾꞀꞂꞄꞆ'
        'ꞋꞍꞐꞒꞖꞘꞚꞜꞞꞠꞢꞤꞦꞨꞪꞫꞬꞭꞮꞰꞱꞲꞳꞴꞶꞸꞺꞼꞾꟀꟂꟄꟅꟆꟇꟉꟐꟖꟘꟵＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ𐐀𐐁𐐂𐐃𐐄𐐅'
        '𐐆𐐇𐐈𐐉𐐊𐐋𐐌𐐍𐐎𐐏𐐐𐐑𐐒𐐓𐐔𐐕𐐖𐐗𐐘𐐙𐐚𐐛𐐜𐐝𐐞𐐟𐐠𐐡𐐢𐐣𐐤𐐥𐐦𐐧𐒰𐒱𐒲𐒳𐒴𐒵𐒶𐒷𐒸𐒹𐒺𐒻𐒼𐒽𐒾𐒿𐓀𐓁𐓂𐓃𐓄𐓅𐓆𐓇𐓈𐓉𐓊𐓋𐓌𐓍𐓎𐓏𐓐𐓑𐓒𐓓𐕰𐕱'
        '𐕲𐕳𐕴𐕵𐕶𐕷𐕸𐕹𐕺𐕼𐕽𐕾𐕿𐖀𐖁𐖂𐖃𐖄𐖅𐖆𐖇𐖈𐖉𐖊𐖌𐖍𐖎𐖏𐖐𐖑𐖒𐖔𐖕𐲀𐲁𐲂𐲃𐲄𐲅𐲆𐲇𐲈𐲉𐲊𐲋𐲌𐲍𐲎𐲏𐲐𐲑𐲒𐲓𐲔𐲕𐲖𐲗𐲘𐲙𐲚𐲛𐲜𐲝𐲞𐲟𐲠𐲡𐲢𐲣𐲤𐲥𐲦'
        '𐲧𐲨𐲩𐲪𐲫𐲬𐲭𐲮𐲯𐲰𐲱𐲲𑢠𑢡𑢢𑢣𑢤𑢥𑢦𑢧𑢨𑢩𑢪𑢫𑢬𑢭𑢮𑢯𑢰𑢱𑢲𑢳𑢴𑢵𑢶𑢷𑢸𑢹𑢺𑢻𑢼𑢽𑢾𑢿𖹀𖹁𖹂𖹃𖹄𖹅𖹆𖹇𖹈𖹉𖹊𖹋𖹌𖹍𖹎𖹏𖹐𖹑𖹒𖹓𖹔𖹕𖹖𖹗𖹘𖹙𖹚𖹛'
        '𖹜𖹝𖹞𖹟𞤀𞤁𞤂𞤃𞤄𞤅𞤆𞤇𞤈𞤉𞤊𞤋𞤌𞤍𞤎𞤏𞤐𞤑𞤒𞤓𞤔𞤕𞤖𞤗𞤘𞤙𞤚𞤛𞤜𞤝𞤞𞤟𞤠𞤡';
    lower_case CONSTANT text :=
        'àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįĳĵķĺļľŀłńņňŋōŏőœŕŗ'
        'řśŝşšţťŧũūŭůűųŵŷÿźżžѐёђѓєѕіїјљњћќѝўџабвгдежзийклмнопрстуфхцчшщъыьэюяѡѣѥѧ'
        'ѩѫѭѯѱѳѵѷѹѻѽѿҁҋҍҏґғҕҗҙқҝҟҡңҥҧҩҫҭүұҳҵҷҹһҽҿӏӂӄӆӈӊӌӎӑӓӕӗәӛӝӟӡӣӥӧөӫӭӯӱӳӵӷӹӻӽӿ'
        'ͱͳͷϳάέήίόύώαβγδεζηθικλμνξοπρστυφχψωϊϋϗϙϛϝϟϡϣϥϧϩϫϭϯθϸϲϻͻͼͽḁḃḅḇḉḋḍḏḑḓḕḗḙḛḝ'
        'ḟḡḣḥḧḩḫḭḯḱḳḵḷḹḻḽḿṁṃṅṇṉṋṍṏṑṓṕṗṙṛṝṟṡṣṥṧṩṫṭṯṱṳṵṷṹṻṽṿẁẃẅẇẉẋẍẏẑẓẕßạảấầẩẫậắằẳẵ'
        'ặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹỻỽỿɓƃƅɔƈɖɗƌǝəɛƒɠɣɩɨƙɯɲɵơƣƥʀƨʃƭʈưʊʋƴƶʒƹ'
        'ƽǆǆǉǉǌǌǎǐǒǔǖǘǚǜǟǡǣǥǧǩǫǭǯǳǳǵƕƿǹǻǽǿȁȃȅȇȉȋȍȏȑȓȕȗșțȝȟƞȣȥȧȩȫȭȯȱȳⱥȼƚⱦɂƀʉʌɇɉɋɍɏ'
        'ԁԃԅԇԉԋԍԏԑԓԕԗԙԛԝԟԡԣԥԧԩԫԭԯաբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆⴀⴁⴂⴃⴄⴅⴆⴇⴈⴉ'
        'ⴊⴋⴌⴍⴎⴏⴐⴑⴒⴓⴔⴕⴖⴗⴘⴙⴚⴛⴜⴝⴞⴟⴠⴡⴢⴣⴤⴥⴧⴭꭰꭱꭲꭳꭴꭵꭶꭷꭸꭹꭺꭻꭼꭽꭾꭿꮀꮁꮂꮃꮄꮅꮆꮇꮈꮉꮊꮋꮌꮍꮎꮏꮐꮑꮒꮓꮔꮕꮖꮗꮘꮙ'
        'ꮚꮛꮜꮝꮞꮟꮠꮡꮢꮣꮤꮥꮦꮧꮨꮩꮪꮫꮬꮭꮮꮯꮰꮱꮲꮳꮴꮵꮶꮷꮸꮹꮺꮻꮼꮽꮾꮿᏸᏹᏺᏻᏼᏽაბგდევზთიკლმნოპჟრსტუფქღყშჩცძ'
        'წჭხჯჰჱჲჳჴჵჶჷჸჹჺჽჾჿἀἁἂἃἄἅἆἇἐἑἒἓἔἕἠἡἢἣἤἥἦἧἰἱἲἳἴἵἶἷὀὁὂὃὄὅὑὓὕὗὠὡὢὣὤὥὦὧᾀᾁᾂᾃᾄᾅ'
        'ᾆᾇᾐᾑᾒᾓᾔᾕᾖᾗᾠᾡᾢᾣᾤᾥᾦᾧᾰᾱὰάᾳὲέὴήῃῐῑὶίῠῡὺύῥὸόὼώῳωkåⅎⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹⅺⅻⅼⅽⅾⅿↄⓐⓑⓒⓓⓔⓕⓖⓗⓘ'
        'ⓙⓚⓛⓜⓝⓞⓟⓠⓡⓢⓣⓤⓥⓦⓧⓨⓩⰰⰱⰲⰳⰴⰵⰶⰷⰸⰹⰺⰻⰼⰽⰾⰿⱀⱁⱂⱃⱄⱅⱆⱇⱈⱉⱊⱋⱌⱍⱎⱏⱐⱑⱒⱓⱔⱕⱖⱗⱘⱙⱚⱛⱜⱝⱞⱟⱡɫᵽɽⱨⱪⱬ'
        'ɑɱɐɒⱳⱶȿɀⲁⲃⲅⲇⲉⲋⲍⲏⲑⲓⲕⲗⲙⲛⲝⲟⲡⲣⲥⲧⲩⲫⲭⲯⲱⲳⲵⲷⲹⲻⲽⲿⳁⳃⳅⳇⳉⳋⳍⳏⳑⳓⳕⳗⳙⳛⳝⳟⳡⳣⳬⳮⳳꙁꙃꙅꙇꙉꙋꙍꙏꙑꙓꙕ'
        'ꙗꙙꙛꙝꙟꙡꙣꙥꙧꙩꙫꙭꚁꚃꚅꚇꚉꚋꚍꚏꚑꚓꚕꚗꚙꚛꜣꜥꜧꜩꜫꜭꜯꜳꜵꜷꜹꜻꜽꜿꝁꝃꝅꝇꝉꝋꝍꝏꝑꝓꝕꝗꝙꝛꝝꝟꝡꝣꝥꝧꝩꝫꝭꝯꝺꝼᵹꝿꞁꞃꞅꞇ'
        'ꞌɥꞑꞓꞗꞙꞛꞝꞟꞡꞣꞥꞧꞩɦɜɡɬɪʞʇʝꭓꞵꞷꞹꞻꞽꞿꟁꟃꞔʂᶎꟈꟊꟑꟗꟙꟶａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ𐐨𐐩𐐪𐐫𐐬𐐭'
        '𐐮𐐯𐐰𐐱𐐲𐐳𐐴𐐵𐐶𐐷𐐸𐐹𐐺𐐻𐐼𐐽𐐾𐐿𐑀𐑁𐑂𐑃𐑄𐑅𐑆𐑇𐑈𐑉𐑊𐑋𐑌𐑍𐑎𐑏𐓘𐓙𐓚𐓛𐓜𐓝𐓞𐓟𐓠𐓡𐓢𐓣𐓤𐓥𐓦𐓧𐓨𐓩𐓪𐓫𐓬𐓭𐓮𐓯𐓰𐓱𐓲𐓳𐓴𐓵𐓶𐓷𐓸𐓹𐓺𐓻𐖗𐖘'
        '𐖙𐖚𐖛𐖜𐖝𐖞𐖟𐖠𐖡𐖣𐖤𐖥𐖦𐖧𐖨𐖩𐖪𐖫𐖬𐖭𐖮𐖯𐖰𐖱𐖳𐖴𐖵𐖶𐖷𐖸𐖹𐖻𐖼𐳀𐳁𐳂𐳃𐳄𐳅𐳆𐳇𐳈𐳉𐳊𐳋𐳌𐳍𐳎𐳏𐳐𐳑𐳒𐳓𐳔𐳕𐳖𐳗𐳘𐳙𐳚𐳛𐳜𐳝𐳞𐳟𐳠𐳡𐳢𐳣𐳤𐳥𐳦'
        '𐳧𐳨𐳩𐳪𐳫𐳬𐳭𐳮𐳯𐳰𐳱𐳲𑣀𑣁𑣂𑣃𑣄𑣅𑣆𑣇𑣈𑣉𑣊𑣋𑣌𑣍𑣎𑣏𑣐𑣑𑣒𑣓𑣔𑣕𑣖𑣗𑣘𑣙𑣚𑣛𑣜𑣝𑣞𑣟𖹠𖹡𖹢𖹣𖹤𖹥𖹦𖹧𖹨𖹩𖹪𖹫𖹬𖹭𖹮𖹯𖹰𖹱𖹲𖹳𖹴𖹵𖹶𖹷𖹸𖹹𖹺𖹻'
        '𖹼𖹽𖹾𖹿𞤢𞤣𞤤𞤥𞤦𞤧𞤨𞤩𞤪𞤫𞤬𞤭𞤮𞤯𞤰𞤱𞤲𞤳𞤴𞤵𞤶𞤷𞤸𞤹𞤺𞤻𞤼𞤽𞤾𞤿𞥀𞥁𞥂𞥃';
    found text;
BEGIN
    value := lower(value COLLATE "C");
    IF octet_length(value) = length(value) THEN
        RETURN value;
    END IF;
    found := regexp_replace(value, '[^' || upper_case || ']+' COLLATE "C", '', 'g');
    IF length(found) > 20 THEN
        found := (SELECT string_agg(DISTINCT letter, '') FROM string_to_table(found, NULL) AS letter);
    END IF;
    RETURN translate(value, found, translate(found, upper_case, lower_case));
END $$;

-- Return whether there is an object with the key at a path.
CREATE OR REPLACE FUNCTION draftline.has_key_at(content jsonb, path text[], key text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_typeof(content #> path) = 'object' AND (content #> path) ? key;

-- Compare a value with a condition's value: below zero, zero or above; NULL for another type. It uses the comparison
-- functions of the btree operator classes, and so the order of the indexes.
CREATE OR REPLACE FUNCTION draftline.compare_value(value jsonb, condition jsonb) RETURNS int
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    CASE condition ->> 'type'
        WHEN 'TEXT' THEN
            IF condition ? 'lower' THEN
                RETURN bttextcmp(draftline.lower_text(draftline.text_at(value, '{}')),
                                 draftline.lower_text(condition ->> 'value') COLLATE "C");
            END IF;
            RETURN bttextcmp(draftline.text_at(value, '{}'), condition ->> 'value' COLLATE "C");
        WHEN 'NUMBER' THEN
            RETURN numeric_cmp(draftline.number_at(value, '{}'), (condition ->> 'value')::numeric);
        WHEN 'BOOLEAN' THEN
            RETURN btboolcmp(draftline.boolean_at(value, '{}'), (condition ->> 'value')::boolean);
        WHEN 'DATE' THEN
            RETURN date_cmp(draftline.date_at(value, '{}'), draftline.read_date(condition ->> 'value'));
        WHEN 'TIMESTAMP' THEN
            RETURN timestamptz_cmp(draftline.instant_at(value, '{}'), draftline.read_instant(condition ->> 'value'));
    END CASE;
END $$;
